"""The report's section that sets a second run against the first."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, nan
from typing import Any

from headcount.results import HeadScores, InputError, LayerScores, Run, Table
from headcount.viz import facts, wording
from headcount.viz.contents import Contents
from headcount.viz.figures.depth import at_depths
from headcount.viz.html_report.tables import flatten
from headcount.viz.html_report.views import Section, View, number

PREFIX = "against/"  # of the names of the second run's figures
DIFFERING = 10  # heads are listed of each score
AGREEMENT = ("score", "by", "rho", "p_value", "low", "high", "n", "overlap", "overlap_chance")
COLUMNS = ("score", "by", "n", "rho", "95 %", "p", "overlap of the highest", "by chance")

Scores = HeadScores | LayerScores


@dataclass(frozen=True, eq=False)
class Against:
    """What two runs have in common.

    Attributes:
        first: What the first run is called.
        second: What the second run is called.
        maps: The second run's scores of heads that the first has too, by the name of the first one's figure; empty
            where the models differ in shape.
        titles: What people call them.
        agreement: The rows that go with `COLUMNS`; empty where they were not computed.
        differing: For each of the maps the heads that differ most; the headings are those of `differing_columns`.
        depth: The section on what is compared by relative depth; None if that is nothing.
        manifest: What the second run says of itself, as text.
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


def set_against(first: Run, found: Contents, second: Run, other: Contents, agreement: Table | None) -> Against:
    """What two runs have in common, for the page.

    Args:
        first: The run that the report is on.
        found: Its contents.
        second: The run that is set against it.
        other: Its contents.
        agreement: Rank correlations of their scores.

    Raises:
        InputError: They have no scores in common, or the table lacks a column.
    """
    titles, ours, theirs = _titles(found), _scores(found), _scores(other)
    shared = [name for name in ours if name in theirs]
    if not shared:
        raise InputError(
            f"{first.folder} and {second.folder} have no scores in common: measure the same tasks and shots in both"
        )
    names = _names(first, second)
    alike = [name for name in shared if isinstance(ours[name], HeadScores) and ours[name].shape == theirs[name].shape]
    deep = {
        titles[name]: dict(zip(names, (ours[name], theirs[name]), strict=True)) for name in shared if name not in alike
    }
    return Against(
        *names,
        {name: theirs[name] for name in alike},
        {name: titles[name] for name in alike},
        [_agreed(row, titles) for row in _ordered(_records(agreement), titles)],
        {name: _differing(ours[name], theirs[name]) for name in alike},
        _depth(names, deep) if deep else None,
        dict(flatten(second.manifest)),
    )


def _scores(found: Contents) -> dict[str, Any]:
    """Every score that the page knows, by its figure's name."""
    heads = {f"heads/{setting.name}": scores for setting, scores in found.heads.items()}
    return {**found.maps, **heads, **{f"ffns/{setting.name}": scores for setting, scores in found.ffns.items()}}


def _titles(found: Contents) -> dict[str, str]:
    ffns = wording.title_of("ffn_importance")
    return facts.head_titles(found) | {f"ffns/{setting.name}": f"{ffns}: {setting.title}" for setting in found.ffns}


def _names(first: Run, second: Run) -> tuple[str, str]:
    """The models' names, or the folders' where those are equal."""
    models = [str(run.manifest["model"].get("name", "")) for run in (first, second)]
    names = models if models[0] != models[1] and all(models) else [run.folder.name for run in (first, second)]
    return (names[0], names[1]) if names[0] != names[1] else ("the first run", "the second run")


def _records(agreement: Table | None) -> list[dict[str, Any]]:
    rows = [] if agreement is None else agreement.records()
    lacking = [name for name in AGREEMENT if rows and name not in rows[0]]
    if lacking:
        raise InputError(f"agreement: expected columns {', '.join(AGREEMENT)}, got none of the name {lacking[0]}")
    return rows


def _ordered(rows: Sequence[dict[str, Any]], titles: Mapping[str, str]) -> list[dict[str, Any]]:
    """The rows in the order of the page, each with the name of its figure; those of no figure come last."""
    named = [row | {"name": row["score"].removeprefix("induction/").removeprefix("importance/")} for row in rows]
    places = {name: place for place, name in enumerate(titles)}
    return sorted(named, key=lambda row: places.get(row["name"], len(places)))


def _agreed(row: Mapping[str, Any], titles: Mapping[str, str]) -> list[str]:
    return [
        titles.get(row["name"], row["name"]),
        row["by"],
        str(row["n"]),
        wording.number(number(row["rho"])),
        wording.interval(number(row["low"]), number(row["high"])),
        f"{number(row['p_value']):.1e}",
        *(wording.number(number(row[key]), 2) for key in ("overlap", "overlap_chance")),
    ]


def _differing(a: HeadScores, b: HeadScores) -> list[list[str]]:
    """The heads whose ranks are furthest apart, with score and rank in both."""
    ranks, texts = [facts.ranks(scores) for scores in (a, b)], [wording.written(scores) for scores in (a, b)]
    both = [place for place in ranks[0] if place in ranks[1]]
    both.sort(key=lambda place: (-abs(ranks[0][place] - ranks[1][place]), place))
    return [
        [
            a.label(layer, head),
            *(
                part
                for rank, text in zip(ranks, texts, strict=True)
                for part in (text[layer * a.shape[1] + head], str(rank[layer, head]))
            ),
        ]
        for layer, head in both[:DIFFERING]
    ]


def _depth(names: tuple[str, str], deep: Mapping[str, Mapping[str, Scores]]) -> Section:
    return Section(
        "against-depth",
        f"By depth, beside {names[1]}",
        "Where in the model a score sits: each layer's part of the sum of what is above 0, against relative depth.",
        "Layer l of L lies at depth (l + 1/2) / L. The dashed line is an even share of all layers.",
        "Curves that look alike show that the same depths score high, not that the same heads do the same.",
        [_view(title, scores) for title, scores in deep.items()],
    )


def _view(title: str, scores: Mapping[str, Scores]) -> View:
    figure = at_depths(scores, title="")
    rows = [
        [f"{name}, layer {layer}", f"{depth:.3f}", wording.number(share, 2) if isfinite(share) else wording.number(nan)]
        for name, line in zip(scores, figure.data, strict=True)
        for layer, (depth, share) in enumerate(zip(line.x, line.y, strict=True))
    ]
    return View(title, figure, "In multiples of an even share", ("layer", "depth", "times an even share"), rows)
