"""Accuracy as parts are removed: curves along one ranking, and the map of both kinds of parts together."""

from collections.abc import Mapping
from html import escape
from typing import Any, Literal, NamedTuple

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from results import InputError, PruningCurve, PruningGrid
from viz import theme as themes
from viz import words

Value = Literal["accuracy", "drop", "log_p"]
WIDTH, HEIGHT = 560, 380
CELL = 56
TITLES = {
    "accuracy": "accuracy",
    "drop": "drop in accuracy",
    "log_p": "drop of gold log-probability, nats",
}
PARTS = {"heads": "heads", "ffns": "FFNs"}


class Line(NamedTuple):
    """One curve: its values and, to both sides, what is drawn as their uncertainty."""

    values: NDArray[np.float32]
    spread: NDArray[np.float32]


def pruning_curve(
    curves: PruningCurve | Mapping[str, PruningCurve],
    *,
    value: Value = "accuracy",
    title: str | None = None,
    theme: str = "light",
) -> go.Figure:
    """Draws accuracy against the share of parts that are removed, with a band for its uncertainty.

    Args:
        curves: One curve, or several by name, of one kind of part.
        value: `"accuracy"`, `"drop"` (of accuracy, paired by document) or `"log_p"` (how much the log-probability of
            the right continuation falls).
        title: Above the figure; "" leaves it out.
        theme: `"light"` or `"dark"`.

    Returns:
        For each curve a band and a line. The band is one standard error over documents; of random orders, whichever is
        larger of that and the standard deviation over orders. Chance and the best constant answer are dashed lines.

    Raises:
        InputError: There is no curve, the value is unknown, or some remove heads and others feed-forward networks.
    """
    named = dict(curves) if isinstance(curves, Mapping) else {"": curves}
    _check(named, value)
    colours, first = themes.named(theme), next(iter(named.values()))
    figure = go.Figure()
    for place, (name, curve) in enumerate(named.items()):
        _add(figure, name, curve, _line(curve, value), themes.SERIES[place % len(themes.SERIES)])
    if value == "accuracy":
        _add_guesses(figure, first, colours)
    heading = f"{first.provenance.get('task', '')}: {TITLES[value]} as {PARTS[first.component]} are removed"
    text, top = themes.title(heading if title is None else title, WIDTH)
    return figure.update_layout(
        template=themes.template(colours),
        title=text,
        width=WIDTH,
        height=HEIGHT + top,
        margin={"l": 64, "r": 24, "t": top, "b": 120},
        legend={"orientation": "h", "y": -0.32, "yanchor": "top"},
        xaxis={"title": {"text": f"{PARTS[first.component]} removed, %"}, "showgrid": False},
        yaxis={"title": {"text": TITLES[value]}, "zeroline": value != "accuracy"},
    )


def pruning_grid(grid: PruningGrid, *, title: str | None = None, theme: str = "light") -> go.Figure:
    """Draws accuracy as heads (across) and feed-forward networks (upwards) are removed together.

    Args:
        grid: The measured grid.
        title: Above the figure; "" leaves it out.
        theme: `"light"` or `"dark"`.

    Returns:
        A heatmap from chance to the highest accuracy, each cell with its accuracy written in it; a star after it marks
        what lies below the whole model by more than two paired standard errors.

    Raises:
        InputError: This is no grid, or the theme is unknown.
    """
    if not isinstance(grid, PruningGrid):
        raise InputError(f"grid: expected PruningGrid, got {type(grid).__name__}; viz.pruning_curve draws curves")
    colours, values = themes.named(theme), grid.value.numpy()
    across, down = [f"{one:g}" for one in grid.head_percents], [f"{one:g}" for one in grid.ffn_percents]
    low = min(float(values.min()), grid.chance)
    width = len(across) * CELL + 150
    heading = f"{grid.provenance.get('task', '')}: accuracy without heads and FFNs"
    text, top = themes.title(heading if title is None else title, width)
    bar = {"thickness": 12, "outlinewidth": 0, "ypad": 0, "title": {"text": "accuracy", "side": "right"}}
    heatmap = go.Heatmap(
        z=values, x=across, y=down, zmin=low, zmax=max(float(values.max()), low + 1e-6), colorscale=themes.SEQUENTIAL,
        colorbar=bar, text=_cells(grid), texttemplate="%{text}", hovertext=_grid_hover(grid), hoverinfo="text", name="",
    )  # fmt: skip
    return go.Figure(heatmap).update_layout(
        template=themes.template(colours),
        title=text,
        width=width,
        height=len(down) * CELL + top + 56,
        margin={"l": 64, "r": 86, "t": top, "b": 56},
        xaxis={"title": {"text": "heads removed, %"}, "type": "category", "showgrid": False},
        yaxis={"title": {"text": "FFNs removed, %"}, "type": "category", "showgrid": False},
    )


def _check(named: Mapping[str, Any], value: str) -> None:
    if not named:
        raise InputError("curves: expected at least one, got none")
    for name, curve in named.items():
        if not isinstance(curve, PruningCurve):
            raise InputError(f"curves: expected PruningCurve for {name!r}, got {type(curve).__name__}")
    if value not in TITLES:
        raise InputError(f"value: expected one of {', '.join(TITLES)}, got {value!r}")
    kinds = {curve.component for curve in named.values()}
    if len(kinds) > 1:
        raise InputError(f"curves: expected one kind of part, got {' and '.join(sorted(kinds))}; draw them apart")


def _line(curve: PruningCurve, value: Value) -> Line:
    values, errors = {
        "accuracy": lambda: (curve.value, curve.stderr),
        "drop": lambda: (curve.drop, curve.drop_stderr),
        "log_p": lambda: curve.lost_log_p,
    }[value]()
    spread = np.nan_to_num(errors.numpy())
    if value != "log_p" and len(curve.seeds) > 1:
        spread = np.maximum(spread, np.nan_to_num(curve.spread.numpy()))
    return Line(values.numpy(), spread)


def _add(figure: go.Figure, name: str, curve: PruningCurve, line: Line, colour: str) -> None:
    """A band and a line, which the legend shows and hides together."""
    x = list(curve.percents)
    low, high = line.values - line.spread, line.values + line.spread
    shared = {"legendgroup": name, "line": {"color": colour, "width": 2}}
    band = {**shared, "line": {"width": 0}, "fillcolor": colour, "opacity": 0.18, "hoverinfo": "skip"}
    figure.add_scatter(x=[*x, *x[::-1]], y=[*high, *low[::-1]], fill="toself", mode="lines", showlegend=False, **band)
    figure.add_scatter(
        x=x, y=line.values, mode="lines+markers", name=escape(name), showlegend=bool(name),
        hovertext=_hover(curve, name, line), hoverinfo="text", **shared,
    )  # fmt: skip


def _hover(curve: PruningCurve, name: str, line: Line) -> list[str]:
    texts = []
    for step, percent in enumerate(curve.percents):
        value = words.measured(float(line.values[step]), float(line.spread[step]))
        lines = [
            f"{escape(name)}" if name else "",
            f"{percent:g} % removed: {curve.removed[step]} {PARTS[curve.component]}",
            f"{curve.parameters[step] / 1e6:.1f} M parameters",
            f"{value} (n = {curve.n}{f', {len(curve.seeds)} orders' if len(curve.seeds) > 1 else ''})",
        ]
        texts.append("<br>".join(line for line in lines if line))
    return texts


def _add_guesses(figure: go.Figure, curve: PruningCurve, colours: themes.Theme) -> None:
    for what, level in (("chance", curve.chance), ("majority", curve.majority)):
        if np.isfinite(level):
            note = {"text": what, "font": {"size": 11, "color": colours.muted}, "showarrow": False}
            figure.add_hline(y=level, line={"dash": "dash", "width": 1, "color": colours.muted}, annotation=note)


def _cells(grid: PruningGrid) -> list[list[str]]:
    worse = (grid.drop - 2 * grid.drop_stderr > 0).tolist()
    rows = zip(grid.value.tolist(), worse, strict=True)
    return [[f"{value:.2f}{'*' if low else ''}" for value, low in zip(*row, strict=True)] for row in rows]


def _grid_hover(grid: PruningGrid) -> list[list[str]]:
    return [
        [
            f"{ffn:g} % of FFNs and {head:g} % of heads removed"
            f"<br>{grid.parameters[down][across] / 1e6:.1f} M parameters"
            f"<br>accuracy {words.measured(float(grid.value[down, across]), float(grid.stderr[down, across]))}"
            f"<br>drop {words.measured(float(grid.drop[down, across]), float(grid.drop_stderr[down, across]))}"
            f" (n = {grid.n})"
            for across, head in enumerate(grid.head_percents)
        ]
        for down, ffn in enumerate(grid.ffn_percents)
    ]
