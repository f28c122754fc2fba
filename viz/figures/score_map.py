"""The score map: one cell for each head, layers upwards, heads across."""

from math import isinf, isnan
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from headcount.results import ExpertScores, HeadScores, InputError
from headcount.viz import number_format, wording
from headcount.viz.ranks import number_of_parts, ranks
from headcount.viz.style import theme as themes
from headcount.viz.style.figure import Figure
from headcount.viz.style.literal_text import literal

EXTENT = 680  # the longer side of a map's cells, in pixels, unless they would become too small or too large
CELL_MIN, CELL_MAX = 6, 40
MARGIN = {"l": 56, "r": 104, "b": 48}
COLORBAR = {
    "thickness": 12,
    "outlinewidth": 0,
    "ypad": 0,
    "nticks": 6,
    "tickfont": {"size": 11},
    "exponentformat": "power",
}


def heads(
    scores: HeadScores | ExpertScores | Any,
    *,
    title: str | None = None,
    theme: str = "light",
    limits: tuple[float, float] | None = None,
) -> Figure:
    """Draw the scores of all heads, or experts, as a map; hovering shows everything known about each.

    Args:
        scores: Scores of heads or experts, or bare values [layer, head] as a tensor or array of any floating dtype.
        title: Title above the map. By default the measure, its definition, task, model and n; "" leaves it out.
        theme: `"light"` or `"dark"`.
        limits: The values at the ends of the colour scale. By default from 0 to the highest score; with negative
            scores, equally far to both sides of 0.

    Returns:
        A figure whose first trace is the heatmap, layer 0 at the bottom. Its colours are viridis, or blue to orange
        if there are negative scores. A head without a finite score has an empty cell with a cross in it.

    Raises:
        InputError: The values are not [layer, head], the theme is unknown, or the limits are no interval.
    """
    if not isinstance(scores, HeadScores | ExpertScores):
        scores = HeadScores(scores)
    heading = wording.figure_title(scores) if title is None else title
    cells, *crosses = _traces(scores, themes.theme_of(theme), limits)
    layout = {"template": themes.template(themes.theme_of(theme)), **_layout(scores.shape, heading, scores.axes[1])}
    return Figure([cells | {"z": _finite(scores), "hovertext": _hover_texts(scores)}, *crosses], layout)


def heads_for_page(scores: HeadScores, *, limits: tuple[float, float] | None = None) -> dict[str, Any]:
    """Draw the same map for a page that writes the hover texts itself, because they would make it large.

    Returns:
        The figure as plotly's JSON, without colours for text and background. The `meta` of its heatmap holds the data
        that the page's scripts read: the measure's title, `n`, the number of layers, the values, True if they are
        small, True if they are shares of 1, the standard errors (None if unknown), and the extras. Values and errors
        are arrays, which `page_figures.NumberStore` takes out.
    """
    small = number_format.formatter(scores) is number_format.scientific
    meta = {
        "title": literal(wording.title_of(scores.measure)),
        "n": scores.n,
        "layers": scores.shape[0],
        "small": small,
        "share": scores.measure in number_format.SHARES,
        "values": _finite(scores),
        "errors": None if scores.stderr is None else scores.stderr.numpy(),
        "extras": {literal(wording.title_of(name)): _in_thousandths(extra) for name, extra in scores.extras.items()},
    }
    cells, *crosses = _traces(scores, themes.LIGHT, limits)
    return {"data": [cells | {"meta": meta}, *crosses], "layout": _layout(scores.shape, "")}


def _in_thousandths(extra: Tensor) -> list[float | None]:
    """Return an extra to three decimals, as it is shown; None for NaN."""
    return [None if isnan(value) else value if isinf(value) else round(value, 3) for value in extra.flatten().tolist()]


def _finite(scores: HeadScores | ExpertScores) -> Float[np.ndarray, "layer head"]:
    """Return the values, NaN where there is no finite one."""
    values = scores.values.numpy()
    return np.where(np.isfinite(values), values, np.nan)


def _traces(
    scores: HeadScores | ExpertScores, theme: themes.Theme, limits: tuple[float, float] | None
) -> list[dict[str, Any]]:
    """Return the map without its values and hover texts, and the crosses on it."""
    values = scores.values.numpy()
    signed = bool((values < 0).any())
    low, high = _limits(values, signed, limits)
    cells = {
        "type": "heatmap",
        "hoverinfo": "text",
        "zmin": low,
        "zmax": high,
        "colorscale": [list(stop) for stop in theme.diverging] if signed else themes.SEQUENTIAL,
        "colorbar": COLORBAR,
        "name": "",
    }
    layers, across = np.nonzero(~np.isfinite(values))
    return [cells, *themes.crosses(across, layers, theme)]


def _limits(
    values: Float[np.ndarray, "layer head"], signed: bool, limits: tuple[float, float] | None
) -> tuple[float, float]:
    """Return the ends of the colour scale: the given ones, or those of the finite values."""
    if limits is not None:
        low, high = limits
        if not low < high:
            raise InputError(f"limits: expected two numbers, the lower one first, got {limits}")
        return float(low), float(high)
    largest = float(np.abs(values[np.isfinite(values)]).max(initial=0)) or 1.0
    return (-largest if signed else 0.0), largest


def _hover_texts(scores: HeadScores | ExpertScores) -> list[list[str]]:
    """Return the hover text of each cell, in the subset of HTML that plotly reads."""
    n_layers, n_heads = scores.shape
    by_head, total = ranks(scores), number_of_parts(scores)
    measure = literal(wording.title_of(scores.measure))
    extras = [(literal(wording.title_of(name)), extra.flatten().tolist()) for name, extra in scores.extras.items()]
    texts = []
    for index, value in enumerate(number_format.score_texts(scores)):
        layer, head = divmod(index, n_heads)
        lines = [
            f"<b>{scores.label(layer, head)}</b>: layer {layer}, {scores.axes[1]} {head}",
            measure,
            f"{value} (n = {scores.n})",
            f"rank {by_head.get((layer, head), number_format.MISSING)} of {total}",
            *(f"{name}: {number_format.decimal(extra[index])}" for name, extra in extras),
        ]
        texts.append("<br>".join(lines))
    return [texts[layer * n_heads : (layer + 1) * n_heads] for layer in range(n_layers)]


def _layout(shape: tuple[int, ...], heading: str, part: str = "head") -> dict[str, Any]:
    """Return the layout: square cells, axes that count from 0, and the title if there is one."""
    n_layers, n_heads = shape
    cell = min(max(EXTENT // max(shape), CELL_MIN), CELL_MAX)
    width = n_heads * cell + MARGIN["l"] + MARGIN["r"]
    title, top = themes.title_layout(heading, width)
    return {
        "title": title,
        "width": width,
        "height": n_layers * cell + top + MARGIN["b"],
        "margin": {**MARGIN, "t": top, "autoexpand": False},
        "xaxis": _axis(part, n_heads, cell, 28),
        "yaxis": _axis("layer", n_layers, cell, 22),
    }


def _axis(name: str, length: int, cell: int, spacing: int) -> dict[str, Any]:
    """Return an axis of whole numbers from 0, labelled at round steps at least `spacing` pixels apart."""
    step = next(step for step in (1, 2, 5, 10, 20, 50, 100) if step * cell >= spacing)
    return {"title": {"text": name}, "range": [-0.5, length - 0.5], "dtick": step, "tick0": 0, "showgrid": False}
