"""Rank correlations: a map of every two tasks, and each task's correlation between two numbers of shots."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from headcount.results import CorrelationMatrix, InputError, Table
from headcount.results.internal import CORRELATION_COLUMNS
from headcount.viz import number_format
from headcount.viz.style import theme as themes
from headcount.viz.style.figure import Figure
from headcount.viz.style.literal_text import literal

CELL_MIN, CELL_MAX, SIDE = 24, 64, 560
INTERVAL = ("rho", "low", "high")
NUMBERS = (*CORRELATION_COLUMNS, "p_value")
SLANT = -40  # degrees of the names below a figure
LETTER, NAME_MAX = 6.5, 160  # the width of a letter, and of the longest name, in pixels

Row = Mapping[str, Any]


def rank_correlation(
    correlations: CorrelationMatrix | Table | Sequence[Row],
    *,
    order: Sequence[str] | None = None,
    title: str | None = None,
    theme: str = "light",
) -> Figure:
    """Draw the rank correlation of every two tasks as a map.

    Args:
        correlations: A matrix, or a study's rows of one kind of correlation (`a`, `b`, `rho`, `low`, `high`, ...).
        order: The names in the order in which they are shown; by default as they come.
        title: Title above the figure; "" leaves it out.
        theme: `"light"` or `"dark"`.

    Returns:
        A heatmap from blue (-1) to orange (1), with rho in each cell and its interval on hover. The diagonal is empty.

    Raises:
        InputError: Rows lack a column, or the order names something else.
    """
    rows = _rows(correlations)
    names = list(order or dict.fromkeys(name for row in rows for name in (row["a"], row["b"])))
    by_pair = {frozenset((row["a"], row["b"])): row for row in rows}
    differing = {name for pair in by_pair for name in pair} ^ set(names)
    if differing:
        differing_names = ", ".join(sorted(differing))
        raise InputError(f"order: expected the names of the correlations, which differ in {differing_names}")
    cells = [[by_pair.get(frozenset((a, b))) for b in names] for a in names]
    heading = "Rank correlation of head importance" if title is None else title
    return _map(names, cells, heading, themes.theme_of(theme))


def shots(table: Table, *, title: str | None = None, theme: str = "light") -> Figure:
    """Draw each task's rank correlation between two numbers of shots, with intervals, and the mean over tasks.

    Args:
        table: Rows with `task`, `shots_a`, `shots_b`, `rho`, `low`, `high`, of one kind of correlation.
        title: Title above the figure; "" leaves it out.
        theme: `"light"` or `"dark"`.

    Raises:
        InputError: The rows lack a column, or there are none.
    """
    rows = _with_columns(table.records(), ("task", "shots_a", "shots_b", *INTERVAL))
    text, top = themes.title_layout("Rank correlation across shots" if title is None else title, SIDE)
    figure = Figure()
    pairs = list(dict.fromkeys((row["shots_a"], row["shots_b"]) for row in rows))
    for index, (a, b) in enumerate(pairs):
        of_pair = [row for row in rows if (row["shots_a"], row["shots_b"]) == (a, b)]
        _add_pair(figure, f"{a} and {b} shots", of_pair, themes.SERIES[index % len(themes.SERIES)])
    foot = 48 + _slanted_height([row["task"] for row in rows])
    return figure.update_layout(
        template=themes.template(themes.theme_of(theme)),
        title=text,
        width=SIDE,
        height=300 + top + foot,
        margin={"l": 64, "r": 24, "t": top, "b": foot},
        showlegend=True,
        scattermode="group",
        legend={"orientation": "h", "y": 1, "yanchor": "bottom"},
        xaxis={"type": "category", "tickangle": SLANT, "showgrid": False},
        yaxis={"title": {"text": "rho"}, "zeroline": True},
    )


def _add_pair(figure: Figure, name: str, rows: Sequence[Row], colour: str) -> None:
    """Add the tasks at two numbers of shots: a point and an interval for each, and the line of their mean."""
    rho, low, high = (np.array([row[key] for row in rows], dtype=float) for key in INTERVAL)
    figure.add_scatter(
        x=[literal(row["task"]) for row in rows], y=rho, mode="markers", name=name, offsetgroup=name,
        marker={"color": colour, "size": 8},
        error_y={"array": np.nan_to_num(high - rho), "arrayminus": np.nan_to_num(rho - low), "width": 0},
        hovertext=[_hover_text(f"{row['task']}, {name}", row) for row in rows], hoverinfo="text",
    )  # fmt: skip
    if np.isfinite(rho).any():
        figure.add_hline(y=float(np.nanmean(rho)), line={"color": colour, "width": 1, "dash": "dot"})


def _rows(correlations: CorrelationMatrix | Table | Sequence[Row]) -> list[Row]:
    if isinstance(correlations, CorrelationMatrix):
        names = correlations.names
        return [
            {"a": a, "b": b, **{key: getattr(correlations, key)[i][j] for key in NUMBERS}}
            for i, a in enumerate(names)
            for j, b in enumerate(names[:i])
        ]
    rows = correlations.records() if isinstance(correlations, Table) else correlations
    return _with_columns(list(rows), ("a", "b", *INTERVAL))


def _with_columns(rows: Sequence[Any], columns: Sequence[str]) -> list[Row]:
    """Return the rows, if there are any and they have these columns.

    Raises:
        InputError: There are none, or a column is missing.
    """
    missing = [name for name in columns if not rows or name not in rows[0]]
    if missing:
        raise InputError(f"expected rows with {', '.join(columns)}, got {'none' if not rows else f'no {missing[0]}'}")
    return list(rows)


def _map(names: list[str], cells: list[list[Row | None]], heading: str, theme: themes.Theme) -> Figure:
    side = max(CELL_MIN, min(CELL_MAX, SIDE // max(len(names), 1)))
    margin = {"l": 24 + _name_width(names), "r": 90, "b": 24 + _slanted_height(names)}
    width = len(names) * side + margin["l"] + margin["r"]
    text, top = themes.title_layout(heading, width)
    axis = {"type": "category", "showgrid": False}
    return Figure(_heatmap(names, cells)).update_layout(
        template=themes.template(theme),
        title=text,
        width=width,
        height=len(names) * side + top + margin["b"],
        margin={**margin, "t": top},
        xaxis={**axis, "tickangle": SLANT},
        yaxis={**axis, "autorange": "reversed"},
    )


def _heatmap(names: list[str], cells: list[list[Row | None]]) -> go.Heatmap:
    rho = np.array([[np.nan if row is None else row["rho"] for row in line] for line in cells], dtype=float)
    labels = [literal(name) for name in names]
    return go.Heatmap(
        z=rho, x=labels, y=labels, zmin=-1, zmax=1, autocolorscale=True,
        text=_cell_texts(rho), texttemplate="%{text}",
        hovertext=[
            ["" if row is None else _hover_text(f"{row['a']} and {row['b']}", row) for row in line] for line in cells
        ],
        hoverinfo="text", name="", colorbar={"thickness": 12, "outlinewidth": 0, "ypad": 0},
    )  # fmt: skip


def _cell_texts(rho: NDArray[np.float64]) -> list[list[str]]:
    return [["" if np.isnan(value) else f"{value:.2f}" for value in line] for line in rho]


def _name_width(names: Sequence[str]) -> int:
    """Return the width of the names beside a figure, up to a limit, in pixels."""
    return min(round(LETTER * max(map(len, names))), NAME_MAX)


def _slanted_height(names: Sequence[str]) -> int:
    """Return the height of slanting names below a figure, in pixels."""
    return 12 + round(0.7 * _name_width(names))


def _hover_text(name: str, row: Row) -> str:
    """Return the hover text of a correlation, in the subset of HTML that plotly reads."""
    lines = [
        literal(name),
        f"rho {number_format.decimal(row['rho'])}, 95 % {number_format.interval(row['low'], row['high'])}",
    ]
    if "null_high" in row:
        lines.append(f"layers alone: {number_format.interval(row['null_low'], row['null_high'])}")
    if "p_value" in row:
        lines.append(f"p = {number_format.p_value(row['p_value'])}")
    return "<br>".join(lines)
