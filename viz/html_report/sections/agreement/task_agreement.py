"""The sections on the agreement of tasks: rank correlations, across shots too, and overlaps of the highest heads."""

from collections.abc import Mapping, Sequence

from headcount.results import Result, Table
from headcount.results.internal import CORRELATION_COLUMNS, shots_title
from headcount.viz import number_format
from headcount.viz.figures.correlations import rank_correlation, shots
from headcount.viz.figures.pruning import PARTS
from headcount.viz.html_report.analysis_tables import (
    CORRELATION_HEADINGS,
    VARIANT,
    VARIANTS,
    Row,
    analysis,
    correlation_cells,
    number_or_nan,
    of_variant,
    tables_at_shots,
)
from headcount.viz.html_report.views import Section, View

PAIR = ("shots_a", "shots_b")


def correlations(results: Mapping[str, Result]) -> Section:
    """Make the section on every two tasks' rank correlation: of heads, then of FFNs, with a view for each kind."""
    columns = ("a", "b", *CORRELATION_COLUMNS, "p_value", "n", *VARIANT)
    views = []
    for part, title in PARTS.items():
        for n_shots, rows in tables_at_shots(results, f"{part}/correlations", columns):
            for variant, variant_title in VARIANTS.items():
                if of_kind := of_variant(rows, variant):
                    order = _task_order(results, n_shots, of_kind)
                    views.append(_correlation_view(title, shots_title(n_shots), variant_title, of_kind, order))
    return Section(
        "correlations",
        "Do tasks agree?",
        intro="The rank correlation of every two tasks' importance, and of each with the mean over tasks.",
        reading="1 is the same order, 0 is unrelated orders. The interval is for other examples of the same tasks. "
        "Layers alone is the correlation of the same values after permuting heads within their layers. p tests the "
        "hypothesis of no correlation at all, which is easier to reject.",
        caveat="Noise lowers a correlation: reliability, further down, is how well a task agrees with itself. The "
        "argsort variant is not a rank correlation; it is shown for comparison with published numbers.",
        views=views,
    )


def across_shots(results: Mapping[str, Result]) -> Section:
    """Make the section on each task's rank correlation between two numbers of shots, with a view for each kind."""
    rows = analysis(results, "heads/across_shots", ("task", *PAIR, *CORRELATION_COLUMNS, *VARIANT))
    means = analysis(results, "heads/across_shots_summary", (*PAIR, "mean", "variance", "n", *VARIANT))
    views = [
        _across_shots_view(title, of_kind, of_variant(means, variant))
        for variant, title in VARIANTS.items()
        if (of_kind := of_variant(rows, variant))
    ]
    return Section(
        "shots",
        "Across shots",
        intro="The rank correlation of a task's head importance at two numbers of solved examples.",
        reading="Dotted lines are means over tasks; bars are 95 % intervals for other examples.",
        caveat="Both numbers of shots were measured on the same documents. The argsort variant is not a rank "
        "correlation.",
        views=views,
    )


def overlaps(results: Mapping[str, Result]) -> Section:
    """Make the section on the overlap of the highest heads, for each pair of tasks."""
    columns = ("a", "b", "fraction", "low", "high", "chance", "null_mean", "n_top", "p_value")
    return Section(
        "overlaps",
        "Overlap of the most important heads",
        intro="The share of the highest heads that two tasks have in common.",
        reading="Chance is the share that two unrelated orders have in common.",
        caveat="The number of highest heads is a convention; heads just above and below that border differ little.",
        views=[_overlap_view(n_shots, rows) for n_shots, rows in tables_at_shots(results, "heads/overlaps", columns)],
    )


def _correlation_view(part: str, at_shots: str, variant: str, rows: Sequence[Row], order: Sequence[str]) -> View:
    caption = f"{variant or 'Rank correlation'} over {rows[0]['n']} {part}"
    cells = [
        [f"{row['a']} and {row['b']}", *correlation_cells(row), number_format.p_value(row["p_value"])] for row in rows
    ]
    return View(
        f"{part}, {at_shots}{f' ({variant})' if variant else ''}",
        rank_correlation(rows, order=order, title=""),
        caption[0].upper() + caption[1:],
        ("tasks", *CORRELATION_HEADINGS, "p"),
        cells,
    )


def _task_order(results: Mapping[str, Result], n_shots: int, rows: Sequence[Row]) -> list[str]:
    """Return the tasks in the order of their clusters, the mean first."""
    names = list(dict.fromkeys(name for row in rows for name in (row["a"], row["b"])))
    clustered = [row["task"] for row in analysis(results, "heads/order", ("task",), n_shots)]
    return sorted(names, key=lambda name: clustered.index(name) if name in clustered else -1)


def _across_shots_view(variant: str, rows: Sequence[Row], means: Sequence[Row]) -> View:
    cells = [[_pair(row), row["task"], *correlation_cells(row), ""] for row in rows]
    cells += [
        [
            _pair(row),
            f"mean over {row['n']} tasks",
            number_format.decimal(row["mean"]),
            "",
            "",
            number_format.decimal(number_or_nan(row["variance"]), 4),
        ]
        for row in means
    ]
    return View(
        variant or "rank correlation",
        shots(Table.of(rows), title=""),
        "Tasks, and their mean",
        ("shots", "task", *CORRELATION_HEADINGS, "variance"),
        cells,
    )


def _pair(row: Row) -> str:
    return " and ".join(str(row[column]) for column in PAIR)


def _overlap_view(n_shots: int, rows: Sequence[Row]) -> View:
    cells = [
        [
            f"{row['a']} and {row['b']}",
            number_format.decimal(row["fraction"], 2),
            number_format.interval(row["low"], row["high"], 2),
            number_format.decimal(row["chance"], 2),
            number_format.decimal(row["null_mean"], 2),
            number_format.p_value(row["p_value"]),
        ]
        for row in rows
    ]
    return View(
        shots_title(n_shots),
        None,
        f"Of the {rows[0]['n_top']} highest heads of each",
        ("tasks", "overlap", "95 %", "chance", "layers alone", "p"),
        cells,
    )
