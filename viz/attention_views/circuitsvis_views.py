"""Attention of heads, and tokens coloured by a value, drawn by circuitsvis without a network."""

from collections.abc import Sequence
from math import isfinite
from typing import Any

import numpy as np
from jaxtyping import UInt8

from headcount.results import InputError, Patterns
from headcount.results.internal import checks
from headcount.viz.embedded_page import EmbeddedPage
from headcount.viz.rendering import circuitsvis_bundle, packed, render, script_json

SHAPES = "[query, key], [head, query, key] or [1, head, query, key]"
HEIGHT = 880
THUMBNAIL = 64  # pixels of a small pattern in the list of heads
ACROSS = 12  # small patterns side by side in a wide frame
JOINER = "\u2060"  # has no width; a sign before it does not start a tag
VISIBLE = str.maketrans({"\n": "↵", "\r": "↵", "\t": "⇥"})


def attention(
    patterns: Patterns | Any, tokens: Sequence[str] | None = None, layer: int | None = None, head: int | None = None
) -> EmbeddedPage:
    """Show what heads attend to on one prompt.

    Args:
        patterns: `Patterns`, of all layers; or weights of one layer, [query, key], [head, query, key] or a batch of
            one, as in `cache["pattern", 3]`, in a tensor or array of any floating dtype.
        tokens: The prompt, token by token, as text; `Patterns` have theirs.
        layer: The layer to show; all of them, one at a time, if left out. Of weights of one layer, its number.
        head: The head to show; all of the layer if left out. Without an axis of heads, its number.

    Returns:
        A view for notebooks that can be saved. Queries down, keys across; hovering shows the weight.

    Raises:
        InputError: The number of axes or a length does not fit, the first of four axes is not a batch of one, a weight
            is no number from 0 to 1 or above the diagonal, or there is no such layer or head.
    """
    shown, first_layer, first_head = _with_numbers(patterns, tokens, layer, head)
    n_layers, n_heads = shown.shape
    if n_layers > 1 and layer is not None:
        shown, first_layer = _select(shown, "layer", layer), layer
    if n_heads > 1 and head is not None:
        shown, first_head = _select(shown, "head", head), head
    n_layers, n_heads = shown.shape
    data = {
        "kind": "attention",
        "tokens": [visible(token) for token in shown.tokens],
        "layers": [None if first_layer is None else first_layer + index for index in range(n_layers)],
        "heads": [None if first_head is None else first_head + index for index in range(n_heads)],
    }
    layers = [packed(triangles(shown.weights[index].numpy()).tobytes()) for index in range(n_layers)]
    height = HEIGHT + (0 if n_heads == 1 else -(-n_heads // ACROSS) * THUMBNAIL)
    return _page(f"Attention on {len(shown.tokens)} tokens", data, layers, height)


def tokens(tokens: Sequence[str], values: Any) -> EmbeddedPage:
    """Show tokens, each coloured by a value: orange above 0, blue below.

    Args:
        tokens: The text, token by token.
        values: A number for each token, as a tensor or array of any floating dtype, or a list.

    Returns:
        A view for notebooks that can be saved. Hovering shows the value.

    Raises:
        InputError: There is not one finite number for each token.
    """
    texts = checks.texts("tokens", tokens)
    numbers = checks.plain_tensor("values", values)
    checks.check_shape("values", numbers, ["token"], [len(texts)])
    rounded = [float(f"{value:.4g}") for value in numbers.tolist()]
    for text, value in zip(texts, rounded, strict=True):
        if not isfinite(value):
            raise InputError(f"values: expected a finite number for each token, got {value} for {text!r}")
    largest = max((abs(value) for value in rounded), default=0.0) or 1.0
    shown = [_without_markup(visible(text)) for text in texts]
    data = {"kind": "tokens", "tokens": shown, "values": rounded, "largest": largest}
    return _page(f"{len(texts)} tokens by value", data, [], 160 + 2 * len(texts))


def visible(token: str) -> str:
    """Return a token with a visible sign for each line break and tab."""
    return token.translate(VISIBLE)


def triangles(weights: UInt8[np.ndarray, "head query key"]) -> UInt8[np.ndarray, "head entry"]:
    """Return the lower triangle of each pattern, row by row; above it all weights are 0."""
    below = np.tri(weights.shape[-1], dtype=bool)
    return weights[:, below]


def _without_markup(token: str) -> str:
    """Return a token that is no markup, since circuitsvis puts tokens into a page without escaping them."""
    return token.replace("<", f"<{JOINER}").replace("&", f"&{JOINER}")


def _with_numbers(
    patterns: Patterns | Any, tokens: Sequence[str] | None, layer: int | None, head: int | None
) -> tuple[Patterns, int | None, int | None]:
    """Return patterns of layers and heads, and the numbers of the first layer and head; None where unknown."""
    if isinstance(patterns, Patterns):
        if tokens is not None and tuple(tokens) != patterns.tokens:
            raise InputError("tokens: expected none, or those of the patterns; leave them out")
        return patterns, 0, 0
    if tokens is None:
        raise InputError("expected the prompt's tokens with the weights: attention(patterns, tokens)")
    weights = checks.plain_tensor("patterns", patterns)
    if weights.ndim not in (2, 3, 4):
        raise InputError(f"patterns: expected weights {SHAPES}, got shape {list(weights.shape)}")
    if weights.ndim == 4 and len(weights) != 1:
        raise InputError(
            f"patterns: the first of four axes, {len(weights)} long, could be a batch or layers: pass one sequence, "
            "weights[0], or the layers as Patterns.of(weights, tokens)"
        )
    one_layer = Patterns.of(weights.reshape(*[1] * (4 - weights.ndim), *weights.shape), tokens)
    return one_layer, layer, head if weights.ndim == 2 else 0


def _select(patterns: Patterns, axis: str, index: int) -> Patterns:
    """Return the patterns of one layer, or of one head in every layer.

    Raises:
        InputError: There is no such layer or head.
    """
    dimension = ("layer", "head").index(axis)
    length = patterns.shape[dimension]
    if not 0 <= index < length:
        raise InputError(f"{axis}: expected a number from 0 to {length - 1}, got {index}")
    return Patterns(patterns.weights.narrow(dimension, index, 1), patterns.tokens, patterns.definition)


def _page(title: str, data: dict[str, Any], layers: Sequence[str], height: int) -> EmbeddedPage:
    values = {"title": title, "data": script_json(data), "layers": layers, "circuitsvis": circuitsvis_bundle()}
    return EmbeddedPage(render("circuitsvis_views.html", **values), title, height)
