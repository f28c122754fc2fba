"""Scores of layers: one point a layer."""

from typing import Any

import numpy as np
import plotly.graph_objects as go

from headcount.results import InputError, LayerScores
from headcount.viz import facts, wording
from headcount.viz.figures import theme as themes
from headcount.viz.figures.literal_text import literal

SPACING, WIDTH_MIN, WIDTH_MAX = 14, 340, 680  # pixels a layer, unless the figure would become too narrow or too wide


def ffn_importance(scores: LayerScores, *, title: str | None = None, theme: str = "light") -> go.Figure:
    """Draws the importance of each layer's feed-forward network, with bars of one standard error where it is known.

    Args:
        scores: The drop in accuracy without each network, or any other scores of layers.
        title: Above the figure. By default what was measured, how and how often, and on which model; "" leaves it out.
        theme: `"light"` or `"dark"`.

    Returns:
        A figure whose first trace has one point a layer. Zero is drawn as a line; a layer without a finite score has a
        cross on it.

    Raises:
        InputError: These are no scores of layers, or the theme is unknown.
    """
    if not isinstance(scores, LayerScores):
        raise InputError(f"scores: expected LayerScores, got {type(scores).__name__}; viz.heads draws scores of heads")
    colours, values, stderr = themes.named(theme), scores.values.numpy(), scores.stderr
    points = {
        "type": "scatter",
        "x": np.arange(len(values)),
        "y": np.where(np.isfinite(values), values, np.nan),
        "error_y": {"array": None if stderr is None else stderr.numpy(), "visible": stderr is not None, "width": 0},
        "mode": "markers",
        "marker": {"size": 7},
        "hovertext": _hover(scores),
        "hoverinfo": "text",
        "name": "",
    }
    layers = np.flatnonzero(~np.isfinite(values))
    crosses = themes.crosses(layers, np.zeros(len(layers)), colours)
    heading = wording.heading(scores) if title is None else title
    frame = _frame(len(values), heading, wording.quantity(scores))
    return go.Figure([points, *crosses], {"template": themes.template(colours), **frame})


def _hover(scores: LayerScores) -> list[str]:
    """What hovering over each point says, in the small part of HTML that plotly reads."""
    ranks, measure = facts.ranks(scores), literal(wording.title_of(scores.measure))
    extras = {
        literal(wording.title_of(name)): wording.all_measured(extra, None) for name, extra in scores.extras.items()
    }
    texts = []
    for layer, value in enumerate(wording.written(scores)):
        lines = [
            f"<b>{scores.label(layer)}</b>: layer {layer}",
            measure,
            f"{value} (n = {scores.n})",
            f"rank {ranks.get((layer,), wording.MISSING)} of {len(scores.values)}",
            *(f"{name}: {extra[layer]}" for name, extra in extras.items()),
        ]
        texts.append("<br>".join(lines))
    return texts


def _frame(n_layers: int, heading: str, quantity: str) -> dict[str, Any]:
    """The layout: layers across, the line of zero, room for a title where there is one."""
    width = min(max(SPACING * n_layers + 100, WIDTH_MIN), WIDTH_MAX)
    title, top = themes.title(heading, width)
    return {
        "title": title,
        "width": width,
        "height": 300 + top,
        "margin": {"l": 64, "r": 36, "t": top, "b": 48},
        "xaxis": {"title": {"text": "layer"}, "range": [-0.7, n_layers - 0.3], "showgrid": False, "nticks": 12},
        "yaxis": {"title": {"text": literal(quantity)}, "zeroline": True, "exponentformat": "power"},
    }
