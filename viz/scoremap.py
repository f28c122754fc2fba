"""The score map: one cell a head, layers upwards, heads across."""

import textwrap
from html import escape
from typing import Any

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float
from numpy.typing import NDArray

from results import HeadScores, InputError
from viz import facts, words
from viz import theme as themes

EXTENT = 680  # the longer side of a map's cells, in pixels, unless they would become too small or too large
CELL_MIN, CELL_MAX = 6, 40
MARGIN = {"l": 56, "r": 104, "t": 12, "b": 48}
LINE, CHARACTER = 20, 8  # of the title, in pixels


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
    values = scores.values.numpy()
    colours, signed = themes.named(theme), bool((values < 0).any())
    low, high = _limits(values, signed, limits)
    figure = go.Figure(
        go.Heatmap(
            z=np.where(np.isfinite(values), values, np.nan),
            zmin=low,
            zmax=high,
            colorscale=[list(stop) for stop in colours.diverging] if signed else themes.SEQUENTIAL,
            colorbar={"thickness": 12, "outlinewidth": 0, "ypad": 0, "nticks": 6, "tickfont": {"size": 11}},
            hovertext=_hover(scores),
            hoverinfo="text",
            name="",
        )
    )
    _mark_missing(figure, values, colours)
    heading = _title(scores) if title is None else title
    figure.update_layout(template=themes.template(colours), **_frame(scores.shape, heading))
    return figure


def _limits(
    values: Float[NDArray[np.float32], "layer head"], signed: bool, limits: tuple[float, float] | None
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
    measure = escape(words.title_of(scores.measure))
    extras = [(escape(words.title_of(name)), extra.flatten().tolist()) for name, extra in scores.extras.items()]
    texts = []
    for index, value in enumerate(words.all_measured(scores.values, scores.stderr)):
        layer, head = divmod(index, n_heads)
        lines = [
            f"<b>{scores.label(layer, head)}</b>: layer {layer}, head {head}",
            measure,
            f"{value} (n = {scores.n})",
            f"rank {ranks.get((layer, head), words.MISSING)} of {total}",
            *(f"{name}: {words.number(extra[index])}" for name, extra in extras),
        ]
        texts.append("<br>".join(lines))
    return [texts[layer * n_heads : (layer + 1) * n_heads] for layer in range(n_layers)]


def _title(scores: HeadScores) -> str:
    """What was measured, how, how often and on what."""
    definition = f" ({scores.definition})" if scores.definition else ""
    model = f", {scores.provenance['model']}" if "model" in scores.provenance else ""
    return f"{words.title_of(scores.measure)}{definition}{model}, n = {scores.n}"


def _mark_missing(figure: go.Figure, values: Float[NDArray[np.float32], "layer head"], theme: themes.Theme) -> None:
    """Puts a cross into every cell without a finite score; hovering stays with the heatmap beneath."""
    layers, across = np.nonzero(~np.isfinite(values))
    if len(layers):
        cross = {"symbol": "x-thin", "size": 6, "line": {"width": 1, "color": theme.muted}}
        figure.add_scatter(x=across, y=layers, mode="markers", marker=cross, hoverinfo="skip", showlegend=False)


def _frame(shape: tuple[int, ...], heading: str) -> dict[str, Any]:
    """The layout: square cells, axes that count from 0, room for a title where there is one."""
    n_layers, n_heads = shape
    cell = min(max(EXTENT // max(shape), CELL_MIN), CELL_MAX)
    width = n_heads * cell + MARGIN["l"] + MARGIN["r"]
    lines = textwrap.wrap(heading, width // CHARACTER)
    top = MARGIN["t"] + LINE * len(lines)
    return {
        "title": {"text": "<br>".join(map(escape, lines)), "y": 1, "yref": "container", "yanchor": "top"},
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
