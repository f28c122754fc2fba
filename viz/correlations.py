"""How far tasks, or numbers of shots, rank heads alike."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
import plotly.graph_objects as go

from results import CorrelationMatrix, InputError, Table
from viz import theme as themes
from viz import words

CELL_MAX, SIDE = 64, 560
NEEDED = ("a", "b", "rho", "low", "high")


def rank_correlation(
    correlations: CorrelationMatrix | Table | Sequence[Mapping[str, Any]],
    *,
    order: Sequence[str] | None = None,
    title: str | None = None,
    theme: str = "light",
) -> go.Figure:
    """Draws the rank correlation of every two tasks as a map.

    Args:
        correlations: A matrix, or the rows of one kind of correlation as a study keeps them (`a`, `b`, `rho`, `low`,
            `high`, ...).
        order: Names in the order in which they are shown; theirs if left out.
        title: Above the figure; "" leaves it out.
        theme: `"light"` or `"dark"`.

    Returns:
        A heatmap from blue (-1) to orange (1), with rho in each cell and its interval on hover. The diagonal is empty.

    Raises:
        InputError: Rows lack a column, or the order names something else.
    """
    rows = _rows(correlations)
    names = list(order or dict.fromkeys(name for row in rows for name in (row["a"], row["b"])))
    known = {frozenset((row["a"], row["b"])): row for row in rows}
    missing = {name for pair in known for name in pair} ^ set(names)
    if missing:
        raise InputError(f"order: expected the names of the correlations, which differ in {', '.join(sorted(missing))}")
    table = [[known.get(frozenset((a, b))) for b in names] for a in names]
    rho = np.array([[np.nan if row is None else row["rho"] for row in line] for line in table], dtype=float)
    return _map(rho, names, table, "Rank correlation of head importance" if title is None else title, theme)


def shots(table: Table, *, title: str | None = None, theme: str = "light") -> go.Figure:
    """Draws how far each task ranks heads alike at two numbers of shots, with intervals, and the mean over tasks.

    Args:
        table: Rows with `task`, `shots_a`, `shots_b`, `rho`, `low`, `high`, of one kind of correlation.
        title: Above the figure; "" leaves it out.
        theme: `"light"` or `"dark"`.

    Raises:
        InputError: The rows lack a column, or there are none.
    """
    rows = _checked(table.records(), ("task", "shots_a", "shots_b", "rho", "low", "high"))
    colours = themes.named(theme)
    text, top = themes.title("Rank correlation across shots" if title is None else title, SIDE)
    figure = go.Figure()
    pairs = list(dict.fromkeys((row["shots_a"], row["shots_b"]) for row in rows))
    for place, pair in enumerate(pairs):
        mine = [row for row in rows if (row["shots_a"], row["shots_b"]) == pair]
        name, colour = f"{pair[0]} and {pair[1]} shots", themes.SERIES[place % len(themes.SERIES)]
        rho = np.array([row["rho"] for row in mine], dtype=float)
        above = np.array([row["high"] for row in mine], dtype=float) - rho
        below = rho - np.array([row["low"] for row in mine], dtype=float)
        figure.add_scatter(
            x=[escape(row["task"]) for row in mine], y=rho, mode="markers", name=name,
            marker={"color": colour, "size": 8},
            error_y={"array": np.nan_to_num(above), "arrayminus": np.nan_to_num(below), "width": 0},
        )  # fmt: skip
        figure.add_hline(y=float(np.nanmean(rho)), line={"color": colour, "width": 1, "dash": "dot"})
    return figure.update_layout(
        template=themes.template(colours),
        title=text,
        width=SIDE,
        height=320 + top,
        margin={"l": 64, "r": 24, "t": top, "b": 110},
        yaxis={"title": {"text": "Spearman's rho"}, "zeroline": True},
    )


def _rows(correlations: Any) -> list[Mapping[str, Any]]:
    if isinstance(correlations, CorrelationMatrix):
        names = correlations.names
        return [
            {"a": a, "b": b, **{key: getattr(correlations, key)[i][j] for key in ("rho", "low", "high", "p_value")}}
            for i, a in enumerate(names)
            for j, b in enumerate(names[:i])
        ]
    return _checked(correlations.records() if isinstance(correlations, Table) else list(correlations), NEEDED)


def _checked(rows: list[Any], needed: Sequence[str]) -> list[Mapping[str, Any]]:
    lacking = [name for name in needed if not rows or name not in rows[0]]
    if lacking:
        raise InputError(f"expected rows with {', '.join(needed)}, got {'none' if not rows else f'no {lacking[0]}'}")
    return rows


def _map(rho: np.ndarray[Any, Any], names: list[str], table: Any, heading: str, theme: str) -> go.Figure:
    colours, cell = themes.named(theme), max(24, min(CELL_MAX, SIDE // max(len(names), 1)))
    side = len(names) * cell
    text, top = themes.title(heading, side + 220)
    labels = [escape(name) for name in names]
    heatmap = go.Heatmap(
        z=rho, x=labels, y=labels, zmin=-1, zmax=1, colorscale=[list(stop) for stop in colours.diverging],
        text=[["" if np.isnan(value) else f"{value:.2f}" for value in line] for line in rho], texttemplate="%{text}",
        hovertext=[[_said(row) for row in line] for line in table], hoverinfo="text", name="",
        colorbar={"thickness": 12, "outlinewidth": 0, "ypad": 0},
    )  # fmt: skip
    axis = {"type": "category", "showgrid": False}
    return go.Figure(heatmap).update_layout(
        template=themes.template(colours),
        title=text,
        width=side + 220,
        height=side + top + 130,
        margin={"l": 130, "r": 90, "t": top, "b": 130},
        xaxis=axis,
        yaxis={**axis, "autorange": "reversed"},
    )


def _said(row: Mapping[str, Any] | None) -> str:
    if row is None:
        return ""
    lines = [
        f"{escape(row['a'])} and {escape(row['b'])}",
        f"rho {words.number(row['rho'])}, 95 % {words.number(row['low'])} to {words.number(row['high'])}",
    ]
    if "null_high" in row:
        lines.append(f"layers alone: {words.number(row['null_low'])} to {words.number(row['null_high'])}")
    return "<br>".join(lines)
