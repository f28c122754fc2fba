"""The map of pairs of heads: the later head upwards, the earlier one across."""

from typing import Any

import numpy as np

from headcount.results import InputError, PairScores
from headcount.viz.style import theme as themes
from headcount.viz.style.figure import Figure

EXTENT = 720
"""The side of the map in pixels."""

TICKS = 16
"""Layers that are named along a side, at most."""


def composition(scores: PairScores, *, title: str | None = None, theme: str = "light") -> Figure:
    """Draw the scores of all pairs of heads, the later head upwards and the earlier one across; axes name layers.

    Args:
        scores: Scores of pairs, as `headcount.induction.composition` gives them.
        title: Title above the map; by default the kind, the model and the baseline. "" leaves it out.
        theme: `"light"` or `"dark"`.

    Returns:
        A figure with one heatmap, [later, earlier]. Its colours begin at the baseline: all pairs below it are dark.
        Pairs of which the second head is not in a later layer have empty cells. Hovering names the pair.

    Raises:
        InputError: These are no scores of pairs, or the theme is unknown.
    """
    if not isinstance(scores, PairScores):
        raise InputError(f"scores: expected PairScores, as composition gives them, got {type(scores).__name__}")
    n_layers, n_heads = scores.shape[:2]
    labels = [f"L{layer}H{head}" for layer in range(n_layers) for head in range(n_heads)]
    values = scores.values.flatten(2).flatten(0, 1).T.numpy()  # [later, earlier]
    text, top = themes.title_layout(_heading(scores) if title is None else title, EXTENT)
    largest = float(np.nan_to_num(values).max(initial=0))
    cells = {
        "type": "heatmap", "x": labels, "y": labels, "z": values, "hoverongaps": False, "name": "",
        "zmin": scores.baseline, "zmax": max(largest, scores.baseline + 1e-6), "colorscale": themes.SEQUENTIAL,
        "colorbar": {"thickness": 12, "outlinewidth": 0, "nticks": 6},
        "hovertemplate": "%{x} → %{y}: %{z:.3f}",
    }  # fmt: skip
    return Figure([cells], _layout(text, top, themes.template(themes.theme_of(theme)), n_layers, n_heads))


def _heading(scores: PairScores) -> str:
    model = str(scores.provenance.get("model", ""))
    kind = scores.definition.partition(":")[0] or scores.measure
    return f"{kind}{', ' + model if model else ''}; unrelated heads: {scores.baseline:.3f}"


def _layout(text: Any, top: int, template: Any, n_layers: int, n_heads: int) -> dict[str, Any]:
    named = range(0, n_layers, -(-n_layers // TICKS))
    ticks = {
        "type": "category",
        "tickvals": [f"L{layer}H0" for layer in named],
        "ticktext": [str(layer) for layer in named],
        "showgrid": False,
    }
    return {
        "template": template, "title": text, "width": EXTENT + 160, "height": EXTENT + top + 56,
        "margin": {"l": 56, "r": 104, "t": top, "b": 56},
        "xaxis": {**ticks, "title": {"text": "layer of the earlier head"}},
        "yaxis": {**ticks, "title": {"text": "layer of the later head"}},
    }  # fmt: skip
