"""The sections that compare importance with induction scores: capacity retained, agreement, and shares by layer."""

from collections.abc import Mapping, Sequence
from typing import Any

from headcount.results import Result, ResultName, Table
from headcount.results.internal import CORRELATION_COLUMNS, shots_title
from headcount.viz import number_format, wording
from headcount.viz.figures.capacity import capacity_retained
from headcount.viz.figures.depth import by_layer
from headcount.viz.html_report.analysis_tables import (
    CORRELATION_HEADINGS,
    Row,
    analysis,
    correlation_cells,
    number_or_nan,
    records,
    results_at_shots,
    tables_at_shots,
)
from headcount.viz.html_report.views import Section, View

CAPACITY = ("removed", "retained", "low", "high", "null_mean", "null_low", "null_high")


def capacities(results: Mapping[str, Result]) -> Section:
    """Make the section on the share of each induction score that is left along each task's ranking."""
    matches = [
        (name.setting, wording.title_of(name.topic), records(name, table, CAPACITY))
        for name, _, table in results_at_shots(results, Table)
        if name.setting is not None and name == ResultName.capacity(name.topic, name.setting)
    ]
    ordered = sorted(matches, key=lambda match: (match[0].order, match[1]))
    return Section(
        "capacity",
        "Induction capacity retained",
        intro="The share of the sum of all heads' induction scores that is left as the least important heads are "
        "removed.",
        reading="A curve above the grey one retains induction heads longer than heads permuted within their layers. "
        "Random removal gives the straight line from corner to corner.",
        caveat="A score that is left shows that the heads are there, not that they do the same in a smaller model.",
        views=[_capacity_view(f"{score} by {setting.title}", rows) for setting, score, rows in ordered if rows],
    )


def agreements(results: Mapping[str, Result]) -> Section:
    """Make the section on the rank correlation of importance and induction scores."""
    columns = ("task", "score", *CORRELATION_COLUMNS, "overlap", "overlap_chance")
    return Section(
        "agreement",
        "Are important heads induction heads?",
        intro="How similarly each task's head importance and the induction scores rank heads.",
        reading="Overlap is the share of the highest heads that both have in common.",
        caveat="Agreement does not show how a task uses these heads.",
        views=[_agreement_view(n_shots, rows) for n_shots, rows in tables_at_shots(results, "agreement", columns)],
    )


def layers(results: Mapping[str, Result]) -> Section:
    """Make the section on each layer's share: of the induction scores, then of importance at each number of shots."""
    columns = ("measure", "task", "shots", "layer", "value", "stderr", "share")
    groups: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for row in analysis(results, "layers", columns):
        title = wording.title_of(row["measure"])
        importance = row["shots"] is not None
        group = f"{title}, {shots_title(row['shots'])}" if importance else "Induction scores"
        groups.setdefault(group, {}).setdefault(row["task"] if importance else title, []).append(row)
    return Section(
        "layers",
        "By layer",
        intro="The share of a score in each layer: of the sum of all scores above 0, over all heads, or FFNs.",
        reading="The dashed line is an even share. Shares of one curve add up to 100 %.",
        caveat="A layer with a large share may owe it to a single head; the score maps show which.",
        views=[_layers_view(title, by_name) for title, by_name in groups.items()],
    )


def overlap_cells(row: Row) -> list[str]:
    """Return the overlap of the highest heads, and the overlap by chance."""
    return [number_format.decimal(row["overlap"], 2), number_format.decimal(row["overlap_chance"], 2)]


def _capacity_view(title: str, rows: Sequence[Row]) -> View:
    return View(
        title,
        capacity_retained(Table.of(rows), title=""),
        "Percent of the sum of all heads' scores",
        ("heads removed", "left, %", "95 %", "random within layers, %", "95 %"),
        [_capacity_cells(row) for row in _every_tenth(rows)],
    )


def _every_tenth(rows: Sequence[Row]) -> list[Row]:
    """Return eleven rows, evenly spaced from the first to the last."""
    last = len(rows) - 1
    return [rows[index] for index in sorted({round(last * step / 10) for step in range(11)})]


def _capacity_cells(row: Row) -> list[str]:
    return [
        str(row["removed"]),
        number_format.decimal(row["retained"], 1),
        number_format.interval(row["low"], row["high"], 1),
        number_format.decimal(row["null_mean"], 1),
        number_format.interval(row["null_low"], row["null_high"], 1),
    ]


def _agreement_view(n_shots: int, rows: Sequence[Row]) -> View:
    return View(
        shots_title(n_shots),
        None,
        "Rank correlation, and overlap of the highest heads",
        ("task", "score", *CORRELATION_HEADINGS, "overlap", "by chance"),
        [[row["task"], wording.title_of(row["score"]), *correlation_cells(row), *overlap_cells(row)] for row in rows],
    )


def _layers_view(title: str, by_name: Mapping[str, Sequence[dict[str, Any]]]) -> View:
    shares = {(row["layer"], name): row["share"] for name, rows in by_name.items() for row in rows}
    n_layers = 1 + max(layer for layer, _ in shares)
    cells = [
        [
            str(layer),
            *(number_format.decimal(100 * number_or_nan(shares.get((layer, name))), 1) for name in by_name),
        ]
        for layer in range(n_layers)
    ]
    return View(
        title,
        by_layer({name: Table.of(rows) for name, rows in by_name.items()}, title=""),
        "Percent of the sum over all layers of the scores above 0",
        ("layer", *by_name),
        cells,
    )
