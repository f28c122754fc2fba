"""Scores of layers: one point for each layer."""

from typing import Any

import numpy as np

from headcount.results import InputError, LayerScores
from headcount.viz import number_format, wording
from headcount.viz.ranks import ranks
from headcount.viz.style import theme as themes
from headcount.viz.style.figure import Figure
from headcount.viz.style.literal_text import literal

SPACING, WIDTH_MIN, WIDTH_MAX = 14, 340, 680  # pixels a layer, unless the figure would become too narrow or too wide


def ffn_importance(scores: LayerScores, *, title: str | None = None, theme: str = "light") -> Figure:
    """Draw the importance of each layer's feed-forward network, with bars of one standard error where it is known.

    Args:
        scores: The drop in accuracy without each network, or any other scores of layers.
        title: Title above the figure. By default the measure, its definition, task, model and n; "" leaves it out.
        theme: `"light"` or `"dark"`.

    Returns:
        A figure whose first trace has one point for each layer. A line marks zero; a layer without a finite score has a
        cross on it.

    Raises:
        InputError: These are no scores of layers, or the theme is unknown.
    """
    if not isinstance(scores, LayerScores):
        raise InputError(f"scores: expected LayerScores, got {type(scores).__name__}; viz.heads draws scores of heads")
    colours, values, stderr = themes.theme_of(theme), scores.values.numpy(), number_format.shown_errors(scores)
    points = {
        "type": "scatter",
        "x": np.arange(len(values)),
        "y": np.where(np.isfinite(values), values, np.nan),
        "error_y": {"array": None if stderr is None else stderr.numpy(), "visible": stderr is not None, "width": 0},
        "mode": "markers",
        "marker": {"size": 7},
        "hovertext": _hover_texts(scores),
        "hoverinfo": "text",
        "name": "",
    }
    missing = np.flatnonzero(~np.isfinite(values))
    crosses = themes.crosses(missing, np.zeros(len(missing)), colours)
    heading = wording.figure_title(scores) if title is None else title
    layout = _layout(len(values), heading, wording.quantity(scores))
    return Figure([points, *crosses], {"template": themes.template(colours), **layout})


def _hover_texts(scores: LayerScores) -> list[str]:
    """Return the hover text of each point, in the subset of HTML that plotly reads."""
    by_layer, measure = ranks(scores), literal(wording.title_of(scores.measure))
    extras = {
        literal(wording.title_of(name)): number_format.value_texts(extra) for name, extra in scores.extras.items()
    }
    texts = []
    for layer, value in enumerate(number_format.score_texts(scores)):
        lines = [
            f"<b>{scores.label(layer)}</b>: layer {layer}",
            measure,
            f"{value} (n = {scores.n})",
            f"rank {by_layer.get((layer,), number_format.MISSING)} of {len(scores.values)}",
            *(f"{name}: {extra[layer]}" for name, extra in extras.items()),
        ]
        texts.append("<br>".join(lines))
    return texts


def _layout(n_layers: int, heading: str, quantity: str) -> dict[str, Any]:
    """Return the layout: layers on the horizontal axis, a line at zero, and the title if there is one."""
    width = min(max(SPACING * n_layers + 100, WIDTH_MIN), WIDTH_MAX)
    title, top = themes.title_layout(heading, width)
    return {
        "title": title,
        "width": width,
        "height": 300 + top,
        "margin": {"l": 64, "r": 36, "t": top, "b": 48},
        "xaxis": {"title": {"text": "layer"}, "range": [-0.7, n_layers - 0.3], "showgrid": False, "nticks": 12},
        "yaxis": {"title": {"text": literal(quantity)}, "zeroline": True, "exponentformat": "power"},
    }
