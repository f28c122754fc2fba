"""What heads attend to, and tokens by a value, as circuitsvis draws them; without a network."""

from collections.abc import Sequence
from math import isfinite
from typing import Any

import numpy as np
from jaxtyping import UInt8

from headcount.results import InputError, Patterns
from headcount.results.storage import checks
from headcount.viz.attention_views.embedded import Embedded
from headcount.viz.attention_views.packing import circuits, packed, render, script_json

RANKS = "[query, key], [head, query, key] or [layer, head, query, key]"
HEIGHT = 880
SMALL = 64  # pixels of a small pattern in the list of heads
ACROSS = 12  # small patterns beside one another in a wide frame
JOINER = "\u2060"  # takes no room; what stands before it is no markup
SHOWN = str.maketrans({"\n": "↵", "\r": "↵", "\t": "⇥"})


def attention(
    patterns: Patterns | Any, tokens: Sequence[str] | None = None, layer: int | None = None, head: int | None = None
) -> Embedded:
    """Shows what heads attend to on one prompt.

    Args:
        patterns: `Patterns`, or weights [query, key], [head, query, key] or [layer, head, query, key] as a tensor or
            array of any floating dtype; so `cache["pattern", 3]`, whose first axis is a batch of one, is taken too.
        tokens: The prompt, token by token, as text; `Patterns` bring theirs.
        layer: Which layer; all of them, one at a time, if left out. Where there is no axis of layers, its number.
        head: Which head; all of the layer if left out. Where there is no axis of heads, its number.

    Returns:
        A view for notebooks that can be saved. Queries down, keys across; hovering says the weight.

    Raises:
        InputError: The rank or a length does not fit, a weight is no number from 0 to 1 or above the diagonal, or there
            is no such layer or head.
    """
    found, first_layer, first_head = _taken(patterns, tokens, layer, head)
    n_layers, n_heads = found.shape
    if n_layers > 1 and layer is not None:
        found, first_layer = _part(found, "layer", layer), layer
    if n_heads > 1 and head is not None:
        found, first_head = _part(found, "head", head), head
    n_layers, n_heads = found.shape
    data = {
        "kind": "attention",
        "tokens": [shown(token) for token in found.tokens],
        "layers": [None if first_layer is None else first_layer + index for index in range(n_layers)],
        "heads": [None if first_head is None else first_head + index for index in range(n_heads)],
    }
    parts = [packed(triangles(found.weights[index].numpy()).tobytes()) for index in range(n_layers)]
    height = HEIGHT + (0 if n_heads == 1 else -(-n_heads // ACROSS) * SMALL)
    return _embedded(f"Attention on {len(found.tokens)} tokens", data, parts, height)


def tokens(tokens: Sequence[str], values: Any) -> Embedded:
    """Shows tokens, each with a value as its colour: orange above 0, blue below.

    Args:
        tokens: The text, token by token.
        values: A number for each token, as a tensor or array of any floating dtype, or a list.

    Returns:
        A view for notebooks that can be saved. Hovering says the value.

    Raises:
        InputError: There is not one finite number for each token.
    """
    texts = checks.texts("tokens", tokens)
    numbers = checks.plain_tensor("values", values)
    checks.check_shape("values", numbers, ["token"], [len(texts)])
    listed = [float(f"{value:.4g}") for value in numbers.tolist()]
    for text, value in zip(texts, listed, strict=True):
        if not isfinite(value):
            raise InputError(f"values: expected a finite number for each token, got {value} for {text!r}")
    most = max((abs(value) for value in listed), default=0.0) or 1.0
    data = {"kind": "tokens", "tokens": [_no_markup(shown(text)) for text in texts], "values": listed, "most": most}
    return _embedded(f"{len(texts)} tokens by value", data, [], 160 + 2 * len(texts))


def shown(token: str) -> str:
    """A token as a person can see it: a sign for each line break and tab."""
    return token.translate(SHOWN)


def triangles(
    weights: UInt8[np.ndarray, "head query key"],
) -> UInt8[np.ndarray, "head entry"]:
    """The lower triangle of each pattern, row by row: above it there is nothing."""
    below = np.tri(weights.shape[-1], dtype=bool)
    return weights[:, below]


def _no_markup(token: str) -> str:
    """A token that circuitsvis, which puts tokens into a page as they are, cannot take for markup."""
    return token.replace("<", f"<{JOINER}").replace("&", f"&{JOINER}")


def _taken(
    patterns: Patterns | Any, tokens: Sequence[str] | None, layer: int | None, head: int | None
) -> tuple[Patterns, int | None, int | None]:
    """Patterns of layers and heads, and the numbers of the first of each; None where they are unknown."""
    if isinstance(patterns, Patterns):
        if tokens is not None and tuple(tokens) != patterns.tokens:
            raise InputError("tokens: expected none, or those of the patterns; leave them out")
        return patterns, 0, 0
    if tokens is None:
        raise InputError("expected the prompt's tokens with the weights: attention(patterns, tokens)")
    values = checks.plain_tensor("patterns", patterns)
    if values.ndim not in (2, 3, 4):
        raise InputError(f"patterns: expected weights {RANKS}, got shape {list(values.shape)}")
    no_layers = values.ndim < 4 or len(values) == 1
    found = Patterns.of(values.reshape(*[1] * (4 - values.ndim), *values.shape), tokens)
    return found, layer if no_layers else 0, head if values.ndim == 2 else 0


def _part(patterns: Patterns, axis: str, index: int) -> Patterns:
    """The patterns of one layer, or of one head in every layer.

    Raises:
        InputError: There is no such layer or head.
    """
    place = ("layer", "head").index(axis)
    length = patterns.shape[place]
    if not 0 <= index < length:
        raise InputError(f"{axis}: expected a number from 0 to {length - 1}, got {index}")
    return Patterns(patterns.weights.narrow(place, index, 1), patterns.tokens, patterns.definition)


def _embedded(title: str, data: dict[str, Any], parts: Sequence[str], height: int) -> Embedded:
    page = render("view.html", title=title, data=script_json(data), parts=parts, circuits=circuits())
    return Embedded(page, title, height)
