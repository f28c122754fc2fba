"""How far tasks, or numbers of shots, rank heads alike."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from headcount.results import CorrelationMatrix, InputError, Table
from headcount.viz import wording
from headcount.viz.figures import theme as themes
from headcount.viz.figures.literal_text import literal

CELL_MAX, SIDE = 64, 560
NEEDED = ("a", "b", "rho", "low", "high")
NUMBERS = ("rho", "low", "high", "null_low", "null_high", "p_value")
SLANT, LETTER = -40, 6.5  # degrees of the names below a figure, and the width of a letter in pixels


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
    text, top = themes.title("Rank correlation across shots" if title is None else title, SIDE)
    figure = go.Figure()
    pairs = list(dict.fromkeys((row["shots_a"], row["shots_b"]) for row in rows))
    for place, pair in enumerate(pairs):
        mine = [row for row in rows if (row["shots_a"], row["shots_b"]) == pair]
        _add_pair(figure, f"{pair[0]} and {pair[1]} shots", mine, themes.SERIES[place % len(themes.SERIES)])
    foot = 48 + _slanted([row["task"] for row in rows])
    return figure.update_layout(
        template=themes.template(themes.named(theme)),
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


def _add_pair(figure: go.Figure, name: str, rows: list[Mapping[str, Any]], colour: str) -> None:
    """The tasks at two numbers of shots: a point and an interval each, and the line of their mean."""
    rho, low, high = (np.array([row[key] for row in rows], dtype=float) for key in ("rho", "low", "high"))
    figure.add_scatter(
        x=[literal(row["task"]) for row in rows], y=rho, mode="markers", name=name, offsetgroup=name,
        marker={"color": colour, "size": 8},
        error_y={"array": np.nan_to_num(high - rho), "arrayminus": np.nan_to_num(rho - low), "width": 0},
        hovertext=[_said(name, row) for row in rows], hoverinfo="text",
    )  # fmt: skip
    if np.isfinite(rho).any():
        figure.add_hline(y=float(np.nanmean(rho)), line={"color": colour, "width": 1, "dash": "dot"})


def _rows(correlations: Any) -> list[Mapping[str, Any]]:
    if isinstance(correlations, CorrelationMatrix):
        names = correlations.names
        return [
            {"a": a, "b": b, **{key: getattr(correlations, key)[i][j] for key in NUMBERS}}
            for i, a in enumerate(names)
            for j, b in enumerate(names[:i])
        ]
    return _checked(correlations.records() if isinstance(correlations, Table) else list(correlations), NEEDED)


def _checked(rows: list[Any], needed: Sequence[str]) -> list[Mapping[str, Any]]:
    lacking = [name for name in needed if not rows or name not in rows[0]]
    if lacking:
        raise InputError(f"expected rows with {', '.join(needed)}, got {'none' if not rows else f'no {lacking[0]}'}")
    return rows


def _map(rho: NDArray[np.float64], names: list[str], table: Any, heading: str, theme: str) -> go.Figure:
    cell = max(24, min(CELL_MAX, SIDE // max(len(names), 1)))
    margin = {"l": 24 + _wide(names), "r": 90, "b": 24 + _slanted(names)}
    width = len(names) * cell + margin["l"] + margin["r"]
    text, top = themes.title(heading, width)
    labels = [literal(name) for name in names]
    heatmap = go.Heatmap(
        z=rho, x=labels, y=labels, zmin=-1, zmax=1, autocolorscale=True,
        text=[["" if np.isnan(value) else f"{value:.2f}" for value in line] for line in rho], texttemplate="%{text}",
        hovertext=[[_pair_said(row) for row in line] for line in table], hoverinfo="text", name="",
        colorbar={"thickness": 12, "outlinewidth": 0, "ypad": 0},
    )  # fmt: skip
    axis = {"type": "category", "showgrid": False}
    return go.Figure(heatmap).update_layout(
        template=themes.template(themes.named(theme)),
        title=text,
        width=width,
        height=len(names) * cell + top + margin["b"],
        margin={**margin, "t": top},
        xaxis={**axis, "tickangle": SLANT},
        yaxis={**axis, "autorange": "reversed"},
    )


def _wide(names: Sequence[str]) -> int:
    """The room that names take beside a figure, up to a limit, in pixels."""
    return min(round(LETTER * max(map(len, names))), 160)


def _slanted(names: Sequence[str]) -> int:
    """The room that slanting names take below it."""
    return 12 + round(0.7 * _wide(names))


def _pair_said(row: Mapping[str, Any] | None) -> str:
    return "" if row is None else _said(f"{row['a']} and {row['b']}", row)


def _said(name: str, row: Mapping[str, Any]) -> str:
    """What hovering over a correlation says, in the small part of HTML that plotly reads."""
    lines = [
        literal(f"{row['task']}, {name}" if "task" in row else name),
        f"rho {wording.number(row['rho'])}, 95 % {wording.interval(row['low'], row['high'])}",
    ]
    if "null_high" in row:
        lines.append(f"layers alone: {wording.interval(row['null_low'], row['null_high'])}")
    if "p_value" in row:
        lines.append(f"p = {row['p_value']:.1e}")
    return "<br>".join(lines)
