"""The sections on the scores on random tokens: a map of each, the table of the top heads, scores by length."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isnan

from torch import Tensor

from headcount.results import HeadScores
from headcount.viz import number_format, wording
from headcount.viz.figures.length_curve import TOP, score_by_length
from headcount.viz.html_report.views import Section, View
from headcount.viz.ranks import ranks

HIGHEST = 12  # heads of each measure in the table of the top heads


@dataclass(frozen=True)
class SortableCell:
    """One cell of a table that can be sorted.

    Attributes:
        text: The text that it shows.
        order: The number to sort by; None, for a score that was not measured, comes last.
    """

    text: str
    order: float | None


def head_columns(maps: Mapping[str, HeadScores]) -> list[str]:
    """Return the headings that go with `head_rows`: the head, then score and rank by each measure, then the extras."""
    scores = [heading for measure in maps for heading in (wording.title_of(measure), "rank")]
    return ["head", *scores, *(wording.title_of(name) for name in _extras(maps))]


def has_extras(maps: Mapping[str, HeadScores]) -> bool:
    """Return True if `head_columns` has one of the known extras."""
    return any(title in wording.EXTRAS.values() for title in head_columns(maps))


def head_rows(maps: Mapping[str, HeadScores]) -> list[list[SortableCell]]:
    """Return the heads that are among the highest by any measure, in the order of the first one.

    Args:
        maps: Scores by measure, of one shape; at least one.

    Returns:
        One row for each head: its label, for each measure its score with standard error and its rank, and each extra.
    """
    columns = [column for scores in maps.values() for column in (_score_column(scores), _rank_column(scores))]
    columns += [_extra_column(extra) for extra in _extras(maps).values()]
    first = next(iter(maps.values()))
    by_head, n_heads = ranks(first), first.shape[1]
    top = {(layer, head) for scores in maps.values() for layer, head, _ in scores.top(HIGHEST)}
    return [
        [
            SortableCell(first.label(layer, head), layer * n_heads + head),
            *(column[layer * n_heads + head] for column in columns),
        ]
        for layer, head in sorted(top, key=lambda place: (by_head.get(place, first.values.numel()), place))
    ]


def matrix(scores: HeadScores) -> list[list[str]]:
    """Return every value to two decimals, one row for each layer, the last layer first, as the map shows them."""
    return [[number_format.decimal(value, 2) for value in row] for row in reversed(scores.values.tolist())]


def lengths(maps: Mapping[str, HeadScores]) -> Section:
    """Make the section on the scores of the highest heads by length; without views if none are known by length."""
    return Section(
        "lengths",
        "Scores by length",
        intro="Scores on random tokens depend on the length of the sequences. The scores above are means over lengths "
        "spread evenly over one range; here are those of short and long sequences apart.",
        reading="A line that falls is a head that matches or copies less among more tokens. Compare scores of models "
        "on sequences of the same range only. A standard error covers other random tokens and other lengths of the "
        "range.",
        caveat="What a head does on sequences beyond this range, or on text.",
        views=[
            _length_view(measure, scores, scores.lengths, scores.by_length)
            for measure, scores in maps.items()
            if scores.lengths is not None and scores.by_length is not None
        ],
    )


def _length_view(measure: str, scores: HeadScores, lengths: Tensor, by_length: Tensor) -> View:
    heads = [(layer, head) for layer, head, _ in scores.top(TOP)]
    rows = zip(lengths.tolist(), by_length, strict=True)
    return View(
        wording.title_of(measure),
        score_by_length(scores, title=""),
        f"Mean scores of sequences of similar length, n = {scores.n} in all",
        ("tokens", *(scores.label(*head) for head in heads)),
        [
            [f"{tokens:.0f}", *(number_format.decimal(float(by_head[head])) for head in heads)]
            for tokens, by_head in rows
        ],
    )


def _score_column(scores: HeadScores) -> list[SortableCell]:
    texts = number_format.score_texts(scores)
    values = scores.values.flatten().tolist()
    return [SortableCell(text, _order(value)) for text, value in zip(texts, values, strict=True)]


def _rank_column(scores: HeadScores) -> list[SortableCell]:
    by_head = ranks(scores)
    column = (by_head.get(divmod(index, scores.shape[1])) for index in range(scores.values.numel()))
    return [SortableCell(number_format.MISSING if rank is None else str(rank), rank) for rank in column]


def _extra_column(extra: Tensor) -> list[SortableCell]:
    return [SortableCell(number_format.decimal(value, 2), _order(value)) for value in extra.flatten().tolist()]


def _extras(maps: Mapping[str, HeadScores]) -> dict[str, Tensor]:
    """Return each extra once, though several measures may have it."""
    return {name: extra for scores in maps.values() for name, extra in scores.extras.items()}


def _order(value: float) -> float | None:
    return None if isnan(value) else value
