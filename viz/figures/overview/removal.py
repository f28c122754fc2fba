"""Accuracy of all tasks as the least important parts go: a line a task, their mean, and random orders."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from headcount.results import InputError, PruningCurve
from headcount.viz.figures.pruning import HEIGHT, PARTS, WIDTH
from headcount.viz.style import theme as themes
from headcount.viz.style.figure import Figure
from headcount.viz.style.literal_text import literal


class MeanCurve(NamedTuple):
    """The mean accuracy over tasks at each share removed, with its standard error, and the number of tasks."""

    percents: list[float]
    values: NDArray[np.float32]
    stderr: NDArray[np.float32]
    n: int


def mean_curve(curves: Mapping[str, PruningCurve]) -> MeanCurve:
    """Return the mean accuracy of several tasks at the shares that all of them have.

    Its standard error is that of other documents, and of other orders where there are several.

    Raises:
        InputError: There is no curve, or no share that all have.
    """
    percents = sorted(set.intersection(*({*curve.percents} for curve in curves.values()))) if curves else []
    if not percents:
        raise InputError("curves: expected curves with shares in common, got none")
    steps = [[curve.percents.index(percent) for percent in percents] for curve in curves.values()]
    values = np.stack([curve.value.numpy()[at] for curve, at in zip(curves.values(), steps, strict=True)])
    errors = np.stack([_error(curve)[at] for curve, at in zip(curves.values(), steps, strict=True)])
    return MeanCurve(percents, values.mean(0), np.sqrt((errors**2).sum(0)) / len(curves), len(curves))


def removal_overview(
    curves: Mapping[str, PruningCurve],
    random: Mapping[str, PruningCurve] | None = None,
    *,
    title: str | None = None,
    theme: str = "light",
) -> Figure:
    """Draw the accuracy of several tasks as the least important parts go, and its mean.

    Args:
        curves: The curve along each task's own ranking, by the task's title.
        random: The curves along random orders, of as many of these tasks as have one.
        title: Title above the figure; "" leaves it out.
        theme: `"light"` or `"dark"`.

    Returns:
        A thin line a task, and a strong one for their mean with a band of one standard error. Random orders have a grey
        line and band; where they were measured on a part of the tasks only, a dashed line is the mean over this part.

    Raises:
        InputError: There is no curve, or the curves remove several kinds of parts.
    """
    random = random or {}
    kinds = {curve.component for curve in (*curves.values(), *random.values())}
    if len(kinds) != 1:
        raise InputError(f"curves: expected one kind of part, got {', '.join(sorted(kinds)) or 'none'}")
    part, colours = PARTS[kinds.pop()], themes.theme_of(theme)
    text, above = themes.title_layout(f"Accuracy as {part} go" if title is None else title, WIDTH)
    traces = [_thin(name, curve) for name, curve in curves.items()]
    if random:
        traces += _banded(mean_curve(random), "random orders", themes.NEUTRAL, "solid")
    if random and (shared := {name: curves[name] for name in random if name in curves}) and len(shared) < len(curves):
        dashed = _banded(mean_curve(shared), "by importance, the same tasks", themes.SERIES[0], "dash")
        traces += dashed[1:]
    traces += _banded(mean_curve(curves), "by importance, mean", themes.SERIES[0], "solid")
    layout = {
        "template": themes.template(colours),
        "title": text,
        "width": WIDTH,
        "height": HEIGHT + above,
        "margin": {"l": 64, "r": 24, "t": above, "b": 96},
        "legend": {"orientation": "h", "y": -0.2, "yanchor": "top"},
        "xaxis": {"title": {"text": f"{part} removed, %"}, "showgrid": False},
        "yaxis": {"title": {"text": "accuracy"}, "range": [0, 1.02]},
    }
    return Figure(traces, layout)


def _error(curve: PruningCurve) -> NDArray[np.float32]:
    error: NDArray[np.float32] = np.nan_to_num(curve.stderr.numpy())
    return np.maximum(error, np.nan_to_num(curve.spread.numpy())) if len(curve.seeds) > 1 else error


def _thin(name: str, curve: PruningCurve) -> dict[str, object]:
    line = {"type": "scatter", "mode": "lines", "x": list(curve.percents), "y": curve.value.tolist()}
    hover = f"{literal(name)}<br>%{{x:g}} % removed: %{{y:.3f}}<extra></extra>"
    style = {"line": {"width": 1, "color": themes.NEUTRAL}, "opacity": 0.7}
    return {**line, **style, "hovertemplate": hover, "showlegend": False}


def _banded(mean: MeanCurve, name: str, colour: str, dash: str) -> list[dict[str, object]]:
    """Return the band of a mean curve, and its line."""
    title = f"{name} ({mean.n} {'task' if mean.n == 1 else 'tasks'})"
    sides = [*(mean.values + mean.stderr), *(mean.values - mean.stderr)[::-1]]
    band = {
        "type": "scatter",
        "x": [*mean.percents, *mean.percents[::-1]],
        "y": [float(side) for side in sides],
        "fill": "toself",
        "fillcolor": colour,
        "opacity": 0.2,
        "line": {"width": 0},
        "mode": "lines",
        "hoverinfo": "skip",
        "showlegend": False,
    }
    line = {
        "type": "scatter",
        "x": mean.percents,
        "y": mean.values.tolist(),
        "mode": "lines+markers",
        "name": title,
        "line": {"width": 3, "color": colour, "dash": dash},
        "marker": {"size": 6},
        "hovertemplate": f"{title}<br>%{{x:g}} % removed: %{{y:.3f}}<extra></extra>",
    }
    return [band, line]
