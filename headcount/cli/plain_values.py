"""The values of results for tables and programs, read without torch, whose import takes seconds."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headcount.results.internal import highest_first

Values = dict[str, Any]
Arrays = dict[str, NDArray[Any]]

ACCURACY = ("value", "stderr", "n", "chance", "majority", "cut")
ADDED = {"ties": 0, "merged": 0, "first_merged": -1}
"""Fields that files of earlier versions lack, and what they stand for."""


LETTERS: dict[str, tuple[str, Sequence[str]]] = {
    "HeadScores": ("head", "LH"),
    "LayerScores": ("layer", "L"),
    "ExpertScores": ("expert", "LE"),
    "PairScores": ("pair", ("L", "H", " → L", "H")),
}
"""For each kind of scores, the word for a part and the letters of its label."""


def plain_values(kind: str, fields: dict[str, Any], arrays: Any, top: int) -> Values | None:
    """Return the values of a result under a key that depends on its kind; None for a kind that is read in another way.

    Args:
        kind: The name of its class.
        fields: Its fields as its file has them.
        arrays: Its arrays by name.
        top: The number of heads, or layers, to list.
    """
    if kind in LETTERS:
        return _scores(kind, fields, arrays, top)
    if kind == "Accuracy":
        known = {name: _number(fields[name]) for name in ACCURACY} | _counts(fields)
        return {"accuracy": known | ({"exact_match": float(arrays["greedy"].mean())} if "greedy" in arrays else {})}
    if kind == "RepeatLoss":
        return _loss(fields)
    if kind == "Patterns":
        n_layers, n_heads = arrays["weights"].shape[:2]
        shown = {"definition": fields["definition"], "tokens": len(fields["tokens"])}
        return shown | {"layers": n_layers, "heads": n_heads}
    if kind == "Table":
        rows = [[_cell(value) for value in row] for row in fields["rows"]]
        records = [dict(zip(fields["columns"], row, strict=True)) for row in rows]
        return {"definition": fields["definition"], "n": len(records), "rows": records}
    return None


def _counts(fields: dict[str, Any]) -> Values:
    """Counts of documents to look at: those with ties, and those scored in part with the first one's row, if any."""
    counts = {name: fields.get(name, otherwise) for name, otherwise in ADDED.items()}
    return counts if counts["merged"] else {name: counts[name] for name in ("ties", "merged")}


def _scores(kind: str, fields: dict[str, Any], arrays: Arrays, top: int) -> Values:
    values = arrays["values"]
    # Of pairs, those whose second head is not in a later layer are no heads that were not measured.
    missing = 0 if kind == "PairScores" else int(np.isnan(values).sum())
    known = {"definition": _definition(fields), "n": fields["n"], "missing": missing}
    return known | _lengths(fields["provenance"]) | {"top": _top(kind, fields["n"], arrays, top)}


def _definition(fields: dict[str, Any]) -> str:
    """The definition of scores; of those of pairs with the score of unrelated heads."""
    baseline = fields.get("baseline")
    return str(fields["definition"]) + ("" if baseline is None else f" ({baseline:.3f} for unrelated heads)")


def _lengths(provenance: dict[str, Any]) -> Values:
    """The number of tokens of the shortest and the longest sequence, where they differ."""
    match provenance.get("n_tokens"):
        case [int(shortest), int(longest)] if shortest < longest:
            return {"n_tokens": [shortest, longest]}
        case _:
            return {}


def _top(kind: str, n: int, arrays: Arrays, top: int) -> list[Values]:
    """The highest heads or layers."""
    values, variance = arrays["values"], arrays.get("variance")
    extras = {name.removeprefix("extra."): array for name, array in arrays.items() if name.startswith("extra.")}
    ties = extras.get("log_p")
    best = highest_first(values.ravel(), None if ties is None else ties.ravel())[:top]
    part, letters = LETTERS[kind]
    rows = []
    for index in best:
        place = np.unravel_index(index, values.shape)
        label = "".join(f"{letter}{number}" for letter, number in zip(letters, place, strict=True))
        rows.append(
            {
                part: label,
                "value": float(values[place]),
                "stderr": None if variance is None else float(np.sqrt(variance[place] / np.float32(n))),
                **{name: float(extra[place]) for name, extra in extras.items()},
            }
        )
    return rows


def _loss(fields: dict[str, Any]) -> Values:
    """The losses; their file is JSON, with numbers in lists."""
    loss, variance = (_float32(fields.get(name)) for name in ("loss", "variance"))
    if loss is None:
        raise KeyError("loss")
    errors = np.full(len(loss), np.nan) if variance is None else np.sqrt(variance / np.float32(fields["n"]))
    rows = [
        {"repeat": repeat, "loss": float(mean), "stderr": float(error), "n": fields["n"]}
        for repeat, (mean, error) in enumerate(zip(loss, errors, strict=True), 1)
    ]
    late = {"late_minus_early": _number(fields["late_minus_early"])}
    return {"loss": rows, **late, "stderr": _number(fields["late_minus_early_stderr"])}


def _float32(numbers: Any) -> NDArray[np.float32] | None:
    return None if numbers is None else np.array([_number(number) for number in numbers], np.float32)


def _number(value: Any) -> Any:
    """A number as a file holds it: as it is, or as a word such as `nan`."""
    return float(value) if isinstance(value, str) else value


def _cell(value: Any) -> Any:
    """A cell of a table: a number that is not finite stands in a list of its own."""
    return _number(value[0]) if isinstance(value, list) else value
