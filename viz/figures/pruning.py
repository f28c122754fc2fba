"""Accuracy as parts are removed: curves along one ranking, and the map of both kinds of parts together."""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from headcount.results import InputError, PruningCurve, PruningGrid
from headcount.viz import wording
from headcount.viz.figures import theme as themes
from headcount.viz.figures.literal_text import literal

Value = Literal["accuracy", "drop", "log_p"]
WIDTH, HEIGHT = 560, 380
CELL = 56
LEAST = 0.05  # that the colours of a grid span: less of an accuracy is no difference to be seen
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
        For each curve a band and a line. The band is one standard error over documents; of random orders, which are
        grey, whichever is larger of that and the standard deviation over orders. Chance and the accuracy of the most
        frequent answer are dashed lines.

    Raises:
        InputError: There is no curve, the value is unknown, or some remove heads and others feed-forward networks.
    """
    named = dict(curves) if isinstance(curves, Mapping) else {"": curves}
    _check(named, value)
    colours, first = themes.named(theme), next(iter(named.values()))
    traces = [
        trace
        for place, (name, curve) in enumerate(named.items())
        for trace in _traces(name, curve, _line(curve, value), place)
    ]
    heading = f"{first.provenance.get('task', '')}: {TITLES[value]} as {PARTS[first.component]} are removed"
    text, top = themes.title(heading if title is None else title, WIDTH)
    layout = {
        "template": themes.template(colours),
        "title": text,
        "width": WIDTH,
        "height": HEIGHT + top,
        "margin": {"l": 64, "r": 24, "t": top, "b": 120},
        "legend": {"orientation": "h", "y": -0.32, "yanchor": "top"},
        "xaxis": {"title": {"text": f"{PARTS[first.component]} removed, %"}, "showgrid": False},
        "yaxis": {"title": {"text": TITLES[value]}, "zeroline": value != "accuracy"},
    }
    # All at once: each later addition makes plotly go through the whole figure again.
    return go.Figure(traces, layout | (_guesses(first) if value == "accuracy" else {}))


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
    high = max(float(values.max()), low + LEAST)
    width = len(across) * CELL + 150
    heading = f"{grid.provenance.get('task', '')}: accuracy without heads and FFNs"
    text, top = themes.title(heading if title is None else title, width)
    bar = {"thickness": 12, "outlinewidth": 0, "ypad": 0, "title": {"text": "accuracy", "side": "right"}}
    heatmap = {
        "type": "heatmap", "z": values, "x": across, "y": down, "zmin": low, "zmax": high,
        "colorscale": themes.SEQUENTIAL, "colorbar": bar, "text": _cells(grid), "texttemplate": "%{text}",
        "hovertext": _grid_hover(grid), "hoverinfo": "text", "name": "",
    }  # fmt: skip
    layout = {
        "template": themes.template(colours),
        "title": text,
        "width": width,
        "height": len(down) * CELL + top + 56,
        "margin": {"l": 64, "r": 86, "t": top, "b": 56},
        "xaxis": {"title": {"text": "heads removed, %"}, "type": "category", "showgrid": False},
        "yaxis": {"title": {"text": "FFNs removed, %"}, "type": "category", "showgrid": False},
    }
    return go.Figure(heatmap, layout)


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


def _traces(name: str, curve: PruningCurve, line: Line, place: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """A band and a line, which the legend shows and hides together."""
    x, control = list(curve.percents), curve.strategy == "random"
    low, high = line.values - line.spread, line.values + line.spread
    colour = themes.NEUTRAL if control else themes.SERIES[place % len(themes.SERIES)]
    seeds = f" ({len(curve.seeds)}, band of their spread)" if len(curve.seeds) > 1 else ""
    band = {
        "type": "scatter", "x": [*x, *x[::-1]], "y": [*high, *low[::-1]], "fill": "toself", "mode": "lines",
        "legendgroup": name, "line": {"width": 0}, "fillcolor": colour, "opacity": 0.15, "hoverinfo": "skip",
        "showlegend": False,
    }  # fmt: skip
    drawn = {
        "type": "scatter", "x": x, "y": line.values, "mode": "lines+markers", "name": literal(name + seeds),
        "showlegend": bool(name), "legendgroup": name,
        "line": {"color": colour, "width": 2, "dash": "dot" if control else "solid"},
        "marker": {"symbol": themes.SYMBOLS[place % len(themes.SYMBOLS)], "size": 7},
        "hovertext": _hover(curve, name, line), "hoverinfo": "text",
    }  # fmt: skip
    return band, drawn


def _hover(curve: PruningCurve, name: str, line: Line) -> list[str]:
    texts = []
    for step, percent in enumerate(curve.percents):
        value = wording.measured(float(line.values[step]), float(line.spread[step]))
        lines = [
            f"{literal(name)}" if name else "",
            f"{percent:g} % removed: {curve.removed[step]} {PARTS[curve.component]}",
            f"{wording.amount(curve.parameters[step])} parameters",
            f"{value} (n = {curve.n}{f', {len(curve.seeds)} orders' if len(curve.seeds) > 1 else ''})",
        ]
        texts.append("<br>".join(line for line in lines if line))
    return texts


def _guesses(curve: PruningCurve) -> dict[str, Any]:
    """Dashed lines over the whole width; where both lie at one level, one line with both names."""
    levels: dict[float, list[str]] = {}
    for what, level in (("chance", curve.chance), ("majority", curve.majority)):
        if np.isfinite(level):
            levels.setdefault(round(level, 3), []).append(what)
    across, dashed = {"xref": "x domain", "yref": "y"}, {"dash": "dash", "width": 1}
    said = {**across, "x": 1, "xanchor": "right", "yanchor": "bottom", "showarrow": False}
    return {
        "shapes": [{"type": "line", **across, "x0": 0, "x1": 1, "y0": y, "y1": y, "line": dashed} for y in levels],
        "annotations": [{**said, "y": y, "text": " and ".join(names)} for y, names in levels.items()],
    }


def _cells(grid: PruningGrid) -> list[list[str]]:
    worse = (grid.drop - 2 * grid.drop_stderr > 0).tolist()
    rows = zip(grid.value.tolist(), worse, strict=True)
    return [[f"{value:.2f}{'*' if low else ''}" for value, low in zip(*row, strict=True)] for row in rows]


def _grid_hover(grid: PruningGrid) -> list[list[str]]:
    return [
        [
            f"{ffn:g} % of FFNs and {head:g} % of heads removed"
            f"<br>{wording.amount(grid.parameters[down][across])} parameters"
            f"<br>accuracy {wording.measured(float(grid.value[down, across]), float(grid.stderr[down, across]))}"
            f"<br>drop {wording.measured(float(grid.drop[down, across]), float(grid.drop_stderr[down, across]))}"
            f" (n = {grid.n})"
            for across, head in enumerate(grid.head_percents)
        ]
        for down, ffn in enumerate(grid.ffn_percents)
    ]
