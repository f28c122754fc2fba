"""The sections on the head atlas: the heads worth knowing, and a map of each score with examples."""

from collections.abc import Mapping
from math import nan

from headcount.results import HeadAtlas, HeadScores, Result, ResultName, TextExample
from headcount.results.internal import TEXT
from headcount.viz import number_format
from headcount.viz.figures.atlas.scores import all_scores, score_title
from headcount.viz.figures.score_map import heads
from headcount.viz.html_report.views import Section, View
from headcount.viz.style.figure import Figure

HIGHEST, LISTED = 3, 10
"""Heads of each score in the table of all scores, and in the table beside a map."""

SHOWN = 0.005
"""Attention from which on a key of an example is shown."""

BEFORE = 5
"""Tokens before the query that an example shows."""

MIDDLE = "50 %"
"""The level of the example in a table."""


def worth_knowing(results: Mapping[str, Result]) -> Section:
    """Make the section with the highest heads of every score."""
    result = atlas_of(results)
    return Section(
        "atlas",
        "What every head does",
        intro="Every head is scored by what it attends to: the token before, earlier occurrences of the current token, "
        "what followed them, the token itself, the first token. On random tokens that repeat, and on text.",
        reading="A head that is high on random tokens and on text does the same on both. The control is the same head "
        "with random weights: what remains there is chance. A head may be high on several scores, or on none.",
        caveat="Where a head attends does not show what it writes, nor if a task needs it.",
        views=[] if result is None else [_highest(result)],
    )


def scores(results: Mapping[str, Result]) -> Section:
    """Make the section with a map of every score, and its highest heads with an example from the text."""
    result = atlas_of(results)
    names = [] if result is None else list(all_scores(result))
    return Section(
        "atlas-scores",
        "Scores of every head",
        intro="One score at a time, with its definition, and an example from the middle of each head's sequences of "
        "text: where the score is highest in it.",
        reading="In an example the query stands in brackets; after the arrow, the keys that it attends to most.",
        caveat="One example is one place. The result holds examples at the highest, 90 %, 50 % and 10 % of sequences.",
        views=[] if result is None else [_of_score(result, name) for name in names],
    )


def atlas_of(results: Mapping[str, Result]) -> HeadAtlas | None:
    """Return the head atlas of a run, if there is one."""
    result = results.get(str(ResultName.atlas()))
    return result if isinstance(result, HeadAtlas) else None


def example_text(example: TextExample) -> str:
    """Return an example in one line: some tokens up to the query, in brackets, and what it attends to."""
    start = max(example.query - BEFORE, 0)
    before, query = "".join(example.tokens[start : example.query]), example.tokens[example.query]
    attended = ", ".join(
        f"“{key.token}” {number_format.decimal(key.attention, 2)}" for key in example.attended if key.attention >= SHOWN
    )
    return f"{'…' if start else ''}{before}[{query}] → {attended}".replace("\n", "⏎")


def _highest(result: HeadAtlas) -> View:
    rows = []
    for name, part in all_scores(result).items():
        control = _control(result, name)
        for layer, head, _ in part.top(HIGHEST):
            cells = [score_title(name), part.label(layer, head), _with_error(part, layer, head), str(part.n)]
            rows.append([*cells, _value(control, layer, head)])
    columns = ("score", "head", "value", "n", "random weights")
    return View("the highest heads of every score", None, f"The {HIGHEST} highest heads of every score, ± standard "
                "error over sequences", columns, rows)  # fmt: skip


def _of_score(result: HeadAtlas, name: str) -> View:
    part, control = all_scores(result)[name], _control(result, name)
    bare = name.removeprefix(f"{TEXT}/")
    rows = []
    for layer, head, _ in part.top(LISTED):
        cells = [part.label(layer, head), _with_error(part, layer, head), _value(control, layer, head)]
        rows.append([*cells, _example(result, bare, layer, head)])
    return View(
        score_title(name),
        _map(part),
        f"{part.definition}. The {len(rows)} highest heads, ± standard error, n = {part.n} sequences",
        ("head", "value", "random weights", f"example from text ({MIDDLE})"),
        rows,
    )


def _map(scores: HeadScores) -> Figure:
    """Return the map of a score; its texts are made from its numbers, since a page holds many of these maps."""
    texts = "<b>L%{y}H%{x}</b><br>%{z:.3f}<extra></extra>"
    return heads(scores, title="").update_traces(
        hovertext=None, hoverinfo=None, hovertemplate=texts, selector={"type": "heatmap"}
    )


def _control(result: HeadAtlas, name: str) -> HeadScores | None:
    on_text = name.startswith(f"{TEXT}/")
    return (result.control.on_text if on_text else result.control).get(name.removeprefix(f"{TEXT}/"))


def _example(result: HeadAtlas, name: str, layer: int, head: int) -> str:
    if result.examples is None or name not in result.examples.scores:
        return ""
    examples = {example.level: example for example in result.examples.of(name, layer, head)}
    return example_text(examples[MIDDLE]) if MIDDLE in examples else ""


def _with_error(scores: HeadScores, layer: int, head: int) -> str:
    stderr = nan if scores.stderr is None else scores.stderr[layer, head].item()
    return number_format.with_error(scores.values[layer, head].item(), number_format.shown_error(stderr, scores.n))


def _value(scores: HeadScores | None, layer: int, head: int) -> str:
    return "" if scores is None else number_format.decimal(scores.values[layer, head].item())
