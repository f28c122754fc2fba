"""The sections that compare a second run with the first: head by head, or by relative depth."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, nan
from typing import Any

from headcount.results import HeadScores, InputError, LayerScores, ResultName, Run, Table
from headcount.viz import number_format
from headcount.viz.contents import Contents
from headcount.viz.figures.depth import at_depths
from headcount.viz.html_report.analysis_tables import Row, number_or_nan
from headcount.viz.html_report.page_figures import figure_name, score_titles, scores_by_figure
from headcount.viz.html_report.sections.provenance import flatten
from headcount.viz.html_report.views import Section, View
from headcount.viz.ranks import ranks

PREFIX = "against/"  # of the names of the second run's figures
LISTED = 10  # heads that differ most, for each score
NEEDED = ("score", "by", "rho", "p_value", "low", "high", "n", "overlap", "overlap_chance")
AGREEMENT_COLUMNS = ("score", "by", "n", "rho", "95 %", "p", "overlap of the highest", "by chance")

Scores = HeadScores | LayerScores


@dataclass(frozen=True, eq=False)
class RunComparison:
    """The scores that two runs have in common.

    Attributes:
        first: The first run's name.
        second: The second run's name.
        maps: The second run's scores of heads that the first has too, by the name of the first one's figure; empty if
            the models differ in shape.
        titles: The titles of the maps.
        agreement: The rows that go with `AGREEMENT_COLUMNS`; empty if they were not computed.
        differing: For each of the maps the heads that differ most; `differing_columns` are the headings.
        depth: The section on what is compared by relative depth; None if that is nothing.
        manifest: The second run's manifest, as text.
    """

    first: str
    second: str
    maps: Mapping[str, HeadScores]
    titles: Mapping[str, str]
    agreement: Sequence[Sequence[str]]
    differing: Mapping[str, Sequence[Sequence[str]]]
    depth: Section | None
    manifest: Mapping[str, str]

    @property
    def differing_columns(self) -> list[str]:
        """The headings that go with `differing`."""
        return ["head", self.first, "rank", self.second, "rank"]


def comparison_of(
    first: Run, contents: Contents, second: Run, second_contents: Contents, agreement: Table | None
) -> RunComparison:
    """Compare the scores that two runs have in common.

    Args:
        first: The run of the report.
        contents: Its contents.
        second: The run that is compared with it.
        second_contents: The contents of the second run.
        agreement: Rank correlations of their scores.

    Raises:
        InputError: They have no scores in common, or the table lacks a column.
    """
    names, titles = _names(first, second), score_titles(contents)
    pairs = _shared_scores(contents, second_contents)
    if not pairs:
        raise InputError(
            f"{first.folder} and {second.folder} have no scores in common: measure the same tasks and shots in both"
        )
    by_head = {name: pair for name, pair in pairs.items() if _same_heads(*pair)}
    by_depth = {
        titles[name]: dict(zip(names, pair, strict=True)) for name, pair in pairs.items() if name not in by_head
    }
    return RunComparison(
        *names,
        maps={name: scores for name, (_, scores) in by_head.items()},
        titles={name: titles[name] for name in by_head},
        agreement=_agreement_rows(agreement, titles),
        differing={name: _differing(*pair) for name, pair in by_head.items()},
        depth=_depth_section(names[1], by_depth) if by_depth else None,
        manifest=dict(flatten(second.manifest)),
    )


def _shared_scores(first: Contents, second: Contents) -> dict[str, tuple[Any, Any]]:
    """Return the scores of both runs by the name of their figure, in the order of the first."""
    ours, theirs = scores_by_figure(first), scores_by_figure(second)
    return {name: (scores, theirs[name]) for name, scores in ours.items() if name in theirs}


def _same_heads(a: Scores, b: Scores) -> bool:
    return isinstance(a, HeadScores) and a.shape == b.shape


def _names(first: Run, second: Run) -> tuple[str, str]:
    """Return the models' names, or the folders' if those are equal."""
    models = [str(run.manifest["model"].get("name", "")) for run in (first, second)]
    names = models if models[0] != models[1] and all(models) else [run.folder.name for run in (first, second)]
    return (names[0], names[1]) if names[0] != names[1] else ("the first run", "the second run")


def _agreement_rows(agreement: Table | None, titles: Mapping[str, str]) -> list[list[str]]:
    """Return the rows in the order of the page; those without a figure come last."""
    records = [] if agreement is None else agreement.records()
    missing = [name for name in NEEDED if records and name not in records[0]]
    if missing:
        raise InputError(f"agreement: expected columns {', '.join(NEEDED)}, got none of the name {missing[0]}")
    named = [(_figure_of(str(record["score"])), record) for record in records]
    places = {name: place for place, name in enumerate(titles)}
    named.sort(key=lambda entry: places.get(entry[0], len(places)))
    return [[titles.get(name, name), *_agreement_cells(record)] for name, record in named]


def _figure_of(score: str) -> str:
    """Return the name of a score's figure: `copying` for `induction/copying`, `heads/T.0shot` for an importance."""
    name = ResultName.parse(score)
    if name is None:
        return score
    return name.topic if name.setting is None else figure_name(name.folder.rpartition("/")[2], name.setting)


def _agreement_cells(row: Row) -> list[str]:
    return [
        row["by"],
        str(row["n"]),
        number_format.decimal(number_or_nan(row["rho"])),
        number_format.interval(number_or_nan(row["low"]), number_or_nan(row["high"])),
        number_format.p_value(number_or_nan(row["p_value"])),
        *(number_format.decimal(number_or_nan(row[key]), 2) for key in ("overlap", "overlap_chance")),
    ]


def _differing(a: HeadScores, b: HeadScores) -> list[list[str]]:
    """Return the heads whose ranks differ most, with score and rank in both."""
    ranks_a, ranks_b = ranks(a), ranks(b)
    texts_a, texts_b = number_format.score_texts(a), number_format.score_texts(b)
    both = [head for head in ranks_a if head in ranks_b]
    both.sort(key=lambda head: (-abs(ranks_a[head] - ranks_b[head]), head))
    rows = []
    for layer, head in both[:LISTED]:
        index, place = layer * a.shape[1] + head, (layer, head)
        cells = [texts_a[index], str(ranks_a[place]), texts_b[index], str(ranks_b[place])]
        rows.append([a.label(layer, head), *cells])
    return rows


def _depth_section(second: str, by_title: Mapping[str, Mapping[str, Scores]]) -> Section:
    return Section(
        "against-depth",
        f"By depth, beside {second}",
        intro="The depths at which a score is high: each layer's part of the sum of all scores above 0, by relative "
        "depth.",
        reading="Layer l of L lies at depth (l + 1/2) / L. The dashed line is an even share of all layers.",
        caveat="Similar curves show that the same depths score high, not that the same heads do the same.",
        views=[_depth_view(title, scores) for title, scores in by_title.items()],
    )


def _depth_view(title: str, scores: Mapping[str, Scores]) -> View:
    figure = at_depths(scores, title="")
    rows = [
        [
            f"{name}, layer {layer}",
            f"{depth:.3f}",
            number_format.decimal(share if isfinite(share) else nan, 2),
        ]
        for name, line in zip(scores, figure.data, strict=True)
        for layer, (depth, share) in enumerate(zip(line.x, line.y, strict=True))
    ]
    return View(title, figure, "In multiples of an even share", ("layer", "depth", "times an even share"), rows)
