"""Accuracy as parts are removed: curves along one ranking, and the grid of heads and FFNs removed together."""

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from headcount.results import InputError, PruningCurve, PruningGrid
from headcount.viz import number_format
from headcount.viz.style import theme as themes
from headcount.viz.style.figure import Figure
from headcount.viz.style.literal_text import literal

Value = Literal["accuracy", "drop", "log_p", "exact_match"]
WIDTH, HEIGHT = 560, 380
CELL = 56
SPAN_MIN = 0.05  # of the colours of a grid: a smaller difference of accuracies should not be visible
TITLES = {
    "accuracy": "accuracy",
    "drop": "drop in accuracy",
    "log_p": "drop of gold log-probability, nats",
    "exact_match": "greedy exact match",
}
PARTS = {"heads": "heads", "ffns": "FFNs", "kv_groups": "KV groups", "experts": "experts"}
"""The kinds of parts that a curve may be about, in the order in which they are shown."""


class Line(NamedTuple):
    """The values of one curve, and their uncertainty to both sides."""

    values: NDArray[np.float32]
    spread: NDArray[np.float32]


def pruning_curve(
    curves: PruningCurve | Mapping[str, PruningCurve],
    *,
    value: Value = "accuracy",
    title: str | None = None,
    theme: str = "light",
) -> Figure:
    """Draw accuracy over the share of parts that are removed, with a band for its uncertainty.

    Args:
        curves: One curve, or several by name, of one kind of part.
        value: `"accuracy"`, `"drop"` (of accuracy, paired by document), `"log_p"` (the drop in log-probability of the
            right continuation) or `"exact_match"` (of greedy decoding).
        title: Title above the figure; "" leaves it out.
        theme: `"light"` or `"dark"`.

    Returns:
        For each curve a band and a line. The band is one standard error over documents; for random orders, which are
        grey, it is the larger of that and the standard deviation over orders. Chance and the accuracy of the most
        frequent answer are dashed lines.

    Raises:
        InputError: There is no curve, the value is unknown, they remove parts of several kinds, or one is of an earlier
            version, which did not record greedy exact match.
    """
    named = dict(curves) if isinstance(curves, Mapping) else {"": curves}
    _check(named, value)
    first = next(iter(named.values()))
    traces = [
        trace
        for index, (name, curve) in enumerate(named.items())
        for trace in _traces(name, curve, _line(curve, value), index)
    ]
    heading = f"{first.provenance.get('task', '')}: {TITLES[value]} as {PARTS[first.component]} are removed"
    text, top = themes.title_layout(heading if title is None else title, WIDTH)
    layout = {
        "template": themes.template(themes.theme_of(theme)),
        "title": text,
        "width": WIDTH,
        "height": HEIGHT + top,
        "margin": {"l": 64, "r": 24, "t": top, "b": 120},
        "legend": {"orientation": "h", "y": -0.32, "yanchor": "top"},
        "xaxis": {"title": {"text": f"{PARTS[first.component]} removed, %"}, "showgrid": False},
        "yaxis": {"title": {"text": TITLES[value]}, "zeroline": value in ("drop", "log_p")},
    }
    # All at once: each later addition makes plotly go through the whole figure again.
    return Figure(traces, layout | (_guess_lines(first) if value == "accuracy" else {}))


def pruning_grid(grid: PruningGrid, *, title: str | None = None, theme: str = "light") -> Figure:
    """Draw accuracy as heads (across) and feed-forward networks (upwards) are removed together.

    Args:
        grid: The measured grid.
        title: Title above the figure; "" leaves it out.
        theme: `"light"` or `"dark"`.

    Returns:
        A heatmap from chance to the highest accuracy, with the accuracy in each cell; a star after it marks an accuracy
        below the whole model's by more than two paired standard errors.

    Raises:
        InputError: This is no grid, or the theme is unknown.
    """
    if not isinstance(grid, PruningGrid):
        raise InputError(f"grid: expected PruningGrid, got {type(grid).__name__}; viz.pruning_curve draws curves")
    width = len(grid.head_percents) * CELL + 150
    heading = f"{grid.provenance.get('task', '')}: accuracy without heads and FFNs"
    text, top = themes.title_layout(heading if title is None else title, width)
    layout = {
        "template": themes.template(themes.theme_of(theme)),
        "title": text,
        "width": width,
        "height": len(grid.ffn_percents) * CELL + top + 56,
        "margin": {"l": 64, "r": 86, "t": top, "b": 56},
        "xaxis": {"title": {"text": "heads removed, %"}, "type": "category", "showgrid": False},
        "yaxis": {"title": {"text": "FFNs removed, %"}, "type": "category", "showgrid": False},
    }
    return Figure(_heatmap(grid), layout)


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
        raise InputError(
            f"curves: expected one kind of part, got {' and '.join(sorted(kinds))}; draw them in separate figures"
        )


def _line(curve: PruningCurve, value: Value) -> Line:
    measures: dict[str, Callable[[], tuple[Any, Any]]] = {
        "accuracy": lambda: (curve.value, curve.stderr),
        "drop": lambda: (curve.drop, curve.drop_stderr),
        "log_p": lambda: curve.lost_log_p,
        "exact_match": lambda: _exact_match(curve),
    }
    values, errors = measures[value]()
    spread = np.nan_to_num(errors.numpy())
    if value != "log_p" and len(curve.seeds) > 1:
        spread = np.maximum(spread, np.nan_to_num(curve.spread.numpy()))
    return Line(values.numpy(), spread)


def _exact_match(curve: PruningCurve) -> tuple[Any, Any]:
    if curve.exact_match is None:
        raise InputError("the curve has no greedy exact match: measure it again, or draw its accuracy")
    return curve.exact_match


def _traces(name: str, curve: PruningCurve, line: Line, index: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a band and a line, which the legend shows and hides together."""
    x, control = list(curve.percents), curve.strategy == "random"
    low, high = line.values - line.spread, line.values + line.spread
    colour = themes.NEUTRAL if control else themes.SERIES[index % len(themes.SERIES)]
    seeds = f" ({len(curve.seeds)}, band of their spread)" if len(curve.seeds) > 1 else ""
    band = {
        "type": "scatter", "x": [*x, *x[::-1]], "y": [*high, *low[::-1]], "fill": "toself", "mode": "lines",
        "legendgroup": name, "line": {"width": 0}, "fillcolor": colour, "opacity": 0.15, "hoverinfo": "skip",
        "showlegend": False,
    }  # fmt: skip
    trace = {
        "type": "scatter", "x": x, "y": line.values, "mode": "lines+markers", "name": literal(name + seeds),
        "showlegend": bool(name), "legendgroup": name,
        "line": {"color": colour, "width": 2, "dash": "dot" if control else "solid"},
        "marker": {"symbol": themes.SYMBOLS[index % len(themes.SYMBOLS)], "size": 7},
        "hovertext": _hover_texts(curve, name, line), "hoverinfo": "text",
    }  # fmt: skip
    return band, trace


def _hover_texts(curve: PruningCurve, name: str, line: Line) -> list[str]:
    texts = []
    for step, percent in enumerate(curve.percents):
        n = len(curve.seeds) if len(curve.seeds) > 1 else curve.n
        error = number_format.shown_error(float(line.spread[step]), n)
        value = number_format.with_error(float(line.values[step]), error)
        lines = [
            f"{literal(name)}" if name else "",
            f"{percent:g} % removed: {curve.removed[step]} {PARTS[curve.component]}",
            f"{number_format.amount(curve.parameters[step])} parameters",
            f"{value} (n = {curve.n}{f', {len(curve.seeds)} orders' if len(curve.seeds) > 1 else ''})",
        ]
        texts.append("<br>".join(line for line in lines if line))
    return texts


def _guess_lines(curve: PruningCurve) -> dict[str, Any]:
    """Return dashed lines of chance and majority over the whole width; at the same level, one line with both names."""
    levels: dict[float, list[str]] = {}
    for name, level in (("chance", curve.chance), ("majority", curve.majority)):
        if np.isfinite(level):
            levels.setdefault(round(level, 3), []).append(name)
    across, dashed = {"xref": "x domain", "yref": "y"}, {"dash": "dash", "width": 1}
    label = {**across, "x": 1, "xanchor": "right", "yanchor": "bottom", "showarrow": False}
    return {
        "shapes": [{"type": "line", **across, "x0": 0, "x1": 1, "y0": y, "y1": y, "line": dashed} for y in levels],
        "annotations": [{**label, "y": y, "text": " and ".join(names)} for y, names in levels.items()],
    }


def _heatmap(grid: PruningGrid) -> dict[str, Any]:
    values = grid.value.numpy()
    low = min(float(values.min()), grid.chance)
    colorbar = {"thickness": 12, "outlinewidth": 0, "ypad": 0, "title": {"text": "accuracy", "side": "right"}}
    return {
        "type": "heatmap", "z": values, "x": [f"{percent:g}" for percent in grid.head_percents],
        "y": [f"{percent:g}" for percent in grid.ffn_percents],
        "zmin": low, "zmax": max(float(values.max()), low + SPAN_MIN), "colorscale": themes.SEQUENTIAL,
        "colorbar": colorbar, "text": _cell_texts(grid), "texttemplate": "%{text}",
        "hovertext": _grid_hover_texts(grid), "hoverinfo": "text", "name": "",
    }  # fmt: skip


def _cell_texts(grid: PruningGrid) -> list[list[str]]:
    worse = (grid.drop - 2 * grid.drop_stderr > 0).tolist()
    rows = zip(grid.value.tolist(), worse, strict=True)
    return [[f"{value:.2f}{'*' if below else ''}" for value, below in zip(*row, strict=True)] for row in rows]


def _grid_hover_texts(grid: PruningGrid) -> list[list[str]]:
    return [
        [_grid_hover_text(grid, row, column) for column in range(len(grid.head_percents))]
        for row in range(len(grid.ffn_percents))
    ]


def _grid_hover_text(grid: PruningGrid, row: int, column: int) -> str:
    value, drop = (
        number_format.with_error(
            float(values[row, column]), number_format.shown_error(float(errors[row, column]), grid.n)
        )
        for values, errors in ((grid.value, grid.stderr), (grid.drop, grid.drop_stderr))
    )
    return (
        f"{grid.ffn_percents[row]:g} % of FFNs and {grid.head_percents[column]:g} % of heads removed"
        f"<br>{number_format.amount(grid.parameters[row][column])} parameters"
        f"<br>accuracy {value}<br>drop {drop} (n = {grid.n})"
    )
