"""The score map: one cell a head, layers upwards, heads across."""

import base64
from math import isfinite, isinf, isnan
from typing import Any

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float
from torch import Tensor

from headcount.results import HeadScores, InputError
from headcount.viz import facts, wording
from headcount.viz.figures import theme as themes
from headcount.viz.figures.literal_text import literal

EXTENT = 680  # the longer side of a map's cells, in pixels, unless they would become too small or too large
CELL_MIN, CELL_MAX = 6, 40
MARGIN = {"l": 56, "r": 104, "b": 48}


def heads(
    scores: HeadScores | Any,
    *,
    title: str | None = None,
    theme: str = "light",
    limits: tuple[float, float] | None = None,
) -> go.Figure:
    """Draws the scores of all heads as a map, with everything known about a head shown on hover.

    Args:
        scores: Scores, or bare values [layer, head] as a tensor or array of any floating dtype.
        title: Above the map. By default what was measured, how and how often, and on which model; "" leaves it out.
        theme: `"light"` or `"dark"`.
        limits: The values at the ends of the colour scale. By default from 0 to the highest score; where there are
            negative scores, equally far to both sides of 0.

    Returns:
        A figure whose first trace is the heatmap, layer 0 at the bottom. Its colours are viridis, or blue to orange
        where there are negative scores. A head without a finite score has an empty cell with a cross in it.

    Raises:
        InputError: The values are not [layer, head], the theme is unknown, or the limits are no interval.
    """
    if not isinstance(scores, HeadScores):
        scores = HeadScores(scores)
    cells, *crosses = _traces(scores, themes.named(theme), limits)
    layout = {"template": themes.template(themes.named(theme)), **_frame(scores.shape, _heading(scores, title))}
    return go.Figure([cells | {"z": _finite(scores), "hovertext": _hover(scores)}, *crosses], layout)


def heads_for_page(scores: HeadScores, *, limits: tuple[float, float] | None = None) -> dict[str, Any]:
    """Draws the same map for a page that writes what hovering says itself, because the texts would make it large.

    Returns:
        The figure as plotly's JSON, without colours for text and grounds. Its heatmap has all that it shows in `meta`,
        which the page unpacks: the measure's title, `n`, the number of layers, the values, whether they are small or
        shares of 1, the standard errors in steps of the last digit shown, and the extras.
    """
    small = wording.writer(scores) is wording.significant
    meta = {
        "title": literal(wording.title_of(scores.measure)),
        "n": scores.n,
        "layers": scores.shape[0],
        "small": small,
        "share": scores.measure in wording.SHARES,
        "values": _packed(_finite(scores)),
        "errors": [] if scores.stderr is None else _in_steps(scores.values, scores.stderr, small),
        "extras": {literal(wording.title_of(name)): _in_thousandths(extra) for name, extra in scores.extras.items()},
    }
    cells, *crosses = _traces(scores, themes.LIGHT, limits)
    return {"data": [cells | {"meta": meta}, *crosses], "layout": _frame(scores.shape, "")}


def _packed(values: Float[np.ndarray, "layer head"]) -> str:
    """Float32 in base64: the first byte of every number, then the second, and so on, since equal parts compress."""
    planes = np.ascontiguousarray(values, "<f4").view(np.uint8).reshape(-1, 4).T
    return base64.b64encode(planes.tobytes()).decode("ascii")


def _in_steps(values: Tensor, stderr: Tensor, small: bool) -> list[float | None]:
    """Standard errors in steps of the last digit that is shown of their values, a few characters each; None for NaN."""
    steps = [wording.last_digit(value) if small else wording.STEP for value in values.flatten().tolist()]
    return [_counted(error, step) for error, step in zip(stderr.flatten().tolist(), steps, strict=True)]


def _in_thousandths(extra: Tensor) -> list[float | None]:
    """An extra to the three decimals that are shown of it; None for NaN."""
    return [None if isnan(value) else value if isinf(value) else round(value, 3) for value in extra.flatten().tolist()]


def _counted(error: float, step: float) -> float | None:
    if isnan(error):
        return None
    return round(error / step) if isfinite(error) and step < 1 else error


def _heading(scores: HeadScores, title: str | None) -> str:
    return wording.heading(scores) if title is None else title


def _finite(scores: HeadScores) -> Float[np.ndarray, "layer head"]:
    """The values, NaN where there is no finite one."""
    values = scores.values.numpy()
    return np.where(np.isfinite(values), values, np.nan)


def _traces(scores: HeadScores, colours: themes.Theme, limits: tuple[float, float] | None) -> list[dict[str, Any]]:
    """The map without its values and what hovering says, and the crosses on it."""
    values = scores.values.numpy()
    signed = bool((values < 0).any())
    low, high = _limits(values, signed, limits)
    cells = {
        "type": "heatmap",
        "hoverinfo": "text",
        "zmin": low,
        "zmax": high,
        "colorscale": [list(stop) for stop in colours.diverging] if signed else themes.SEQUENTIAL,
        "colorbar": {
            "thickness": 12,
            "outlinewidth": 0,
            "ypad": 0,
            "nticks": 6,
            "tickfont": {"size": 11},
            "exponentformat": "power",
        },
        "name": "",
    }
    layers, across = np.nonzero(~np.isfinite(values))
    return [cells, *themes.crosses(across, layers, colours)]


def _limits(
    values: Float[np.ndarray, "layer head"], signed: bool, limits: tuple[float, float] | None
) -> tuple[float, float]:
    """The ends of the colour scale, as given or from the finite values."""
    if limits is not None:
        low, high = limits
        if not low < high:
            raise InputError(f"limits: expected two numbers, the lower one first, got {limits}")
        return float(low), float(high)
    largest = float(np.abs(values[np.isfinite(values)]).max(initial=0)) or 1.0
    return (-largest if signed else 0.0), largest


def _hover(scores: HeadScores) -> list[list[str]]:
    """What hovering over each cell says, in the small part of HTML that plotly reads."""
    n_layers, n_heads = scores.shape
    ranks, total = facts.ranks(scores), n_layers * n_heads
    measure = literal(wording.title_of(scores.measure))
    extras = [(literal(wording.title_of(name)), extra.flatten().tolist()) for name, extra in scores.extras.items()]
    texts = []
    for index, value in enumerate(wording.written(scores)):
        layer, head = divmod(index, n_heads)
        lines = [
            f"<b>{scores.label(layer, head)}</b>: layer {layer}, head {head}",
            measure,
            f"{value} (n = {scores.n})",
            f"rank {ranks.get((layer, head), wording.MISSING)} of {total}",
            *(f"{name}: {wording.number(extra[index])}" for name, extra in extras),
        ]
        texts.append("<br>".join(lines))
    return [texts[layer * n_heads : (layer + 1) * n_heads] for layer in range(n_layers)]


def _frame(shape: tuple[int, ...], heading: str) -> dict[str, Any]:
    """The layout: square cells, axes that count from 0, room for a title where there is one."""
    n_layers, n_heads = shape
    cell = min(max(EXTENT // max(shape), CELL_MIN), CELL_MAX)
    width = n_heads * cell + MARGIN["l"] + MARGIN["r"]
    title, top = themes.title(heading, width)
    return {
        "title": title,
        "width": width,
        "height": n_layers * cell + top + MARGIN["b"],
        "margin": {**MARGIN, "t": top, "autoexpand": False},
        "xaxis": _axis("head", n_heads, cell, 28),
        "yaxis": _axis("layer", n_layers, cell, 22),
    }


def _axis(name: str, length: int, cell: int, spacing: int) -> dict[str, Any]:
    """An axis of whole numbers from 0, labelled at round steps at least `spacing` pixels apart."""
    step = next(step for step in (1, 2, 5, 10, 20, 50, 100) if step * cell >= spacing)
    return {"title": {"text": name}, "range": [-0.5, length - 0.5], "dtick": step, "tick0": 0, "showgrid": False}
