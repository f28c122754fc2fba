"""The head atlas in the terminal: the highest heads of each score, with an example of the first."""

from typing import TYPE_CHECKING, Any

from headcount.cli.plain_values import Values

if TYPE_CHECKING:
    from headcount.results import HeadAtlas, HeadScores, TextExample

LISTED = 3
"""Heads of each score in a table."""

SHOWN = 0.005
"""Attention from which on a key of an example is shown."""

BEFORE = 6
"""Tokens before the query that are shown of an example."""


def atlas_values(atlas: "HeadAtlas", top: int) -> Values:
    """Return the highest heads of each score with their values, errors and controls, and the examples of the first."""
    rows = []
    for tokens, scores, controls in (
        ("random", atlas.random, atlas.control),
        ("text", atlas.on_text, atlas.control.on_text),
    ):
        for name, part in scores.items():
            row: Values = {"score": name, "tokens": tokens, "n": part.n, "definition": part.definition}
            row["top"] = [_head(part, controls.get(name), layer, head) for layer, head, _ in part.top(top)]
            if tokens == "text" and atlas.examples is not None and name in atlas.examples.scores and part.top(1):
                layer, head, _ = part.top(1)[0]
                row["examples"] = [_example(example) for example in atlas.examples.of(name, layer, head)]
            rows.append(row)
    return {"definition": "what every head does", "n": rows[0]["n"], "atlas": rows}


def atlas_rows(values: Values) -> list[Values]:
    """Return the rows of a table from `atlas_values`."""
    rows = []
    for row in values["atlas"]:
        heads = [f"{head['head']} {head['value']:.3f}" for head in row["top"][:LISTED]]
        control = row["top"][0]["control"] if row["top"] else None
        shown = {"score": row["score"], "tokens": row["tokens"], "n": row["n"], "highest heads": ", ".join(heads)}
        examples = {example["level"]: example["text"] for example in row.get("examples", ())}
        rows.append(shown | {"control": control, "example (50 %)": examples.get("50 %", "")})
    return rows


def _head(scores: "HeadScores", control: "HeadScores | None", layer: int, head: int) -> Values:
    return {
        "head": scores.label(layer, head),
        "value": scores.values[layer, head].item(),
        "stderr": None if scores.stderr is None else scores.stderr[layer, head].item(),
        "control": None if control is None else control.values[layer, head].item(),
    }


def _example(example: "TextExample") -> dict[str, Any]:
    """Return an example with its place as text: some tokens up to the query, and what it attends to."""
    start = max(example.query - BEFORE, 0)
    before, query = "".join(example.tokens[start : example.query]), example.tokens[example.query]
    attended = ", ".join(f"{key.token!r} {key.attention:.2f}" for key in example.attended if key.attention >= SHOWN)
    return {
        "level": example.level,
        "value": example.value,
        "text": f"{'…' if start else ''}{before}[{query}] → {attended}".replace("\n", "⏎"),
    }
