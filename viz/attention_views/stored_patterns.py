"""The attention weights that a page stores: all of them if they fit, else those that matter most."""

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Int64, UInt8
from numpy.typing import NDArray

from headcount.results import Patterns
from headcount.viz.attention_views.circuitsvis_views import triangles, visible
from headcount.viz.rendering import packed, script_json

NONE, WHOLE, STRONGEST = 0, 1, 2  # levels of detail at which a head's pattern is stored
KEYS = 4  # of each row of a pattern that is not stored whole
LONGEST = 256  # tokens of a prompt; a token attends to those before it, so the later ones can be left out
ALWAYS = 10  # heads whose whole patterns come before the strongest keys of any other
SAMPLED = 8  # the size of a head is estimated from one layer in eight
ELEMENT = '<script type="application/gzip" id="{}">{}</script>\n'

Weights = UInt8[np.ndarray, "layer head query key"]
Levels = UInt8[np.ndarray, "layer head"]


@dataclass(frozen=True)
class Prompt:
    """A prompt as the page shows it.

    Attributes:
        name: Its name in the page's address.
        title: Its title for people.
        tokens: Its tokens, at most `LONGEST`.
        left_out: The number of tokens after those.
        weights: The attention of every head, in 256 levels.
    """

    name: str
    title: str
    tokens: Sequence[str]
    left_out: int
    weights: Weights

    @property
    def sink(self) -> UInt8[np.ndarray, "layer head"]:
        """The share of each head's attention on position 0, over all queries but the first, in 256 levels."""
        later = self.weights[:, :, 1:, 0]
        return np.rint(later.mean(-1)).astype(np.uint8) if later.size else self.weights[:, :, 0, 0]


def prompts_of(attention: Mapping[str, Patterns]) -> list[Prompt]:
    """Return the prompts of a run, as the page shows them."""
    return [
        Prompt(
            name,
            patterns.definition or name,
            [visible(token) for token in patterns.tokens[:LONGEST]],
            max(0, len(patterns.tokens) - LONGEST),
            patterns.weights[:, :, :LONGEST, :LONGEST].numpy(),
        )
        for name, patterns in attention.items()
    ]


def elements(prompts: Sequence[Prompt], order: Int64[np.ndarray, " head"], max_chars: float) -> str:
    """Return the HTML elements that hold attention: one for each prompt and layer, and one that describes them.

    Args:
        prompts: The prompts with their attention; all of one model.
        order: Flat indices of all heads, the most important first.
        max_chars: The largest number of characters.

    Returns:
        HTML: whole patterns where they fit, else whole ones of the first heads in `order` and the strongest keys of
        each row for as many further heads as fit.
    """
    if not prompts:
        return ""
    description = _all_at(prompts, NONE)
    left, costs = max_chars - len(description), (_cost(prompts, WHOLE), _cost(prompts, STRONGEST))
    shape = prompts[0].weights.shape[:2]
    for share in (1.0, 0.95, 0.9, 0.8, 0.6, 0.4, 0.2):
        text = _html(prompts, _levels(order, shape, *_counts(left * share, *costs, order.size)))
        if len(text) <= max_chars:
            return text
    return description


def _cost(prompts: Sequence[Prompt], level: int) -> float:
    """Estimate the characters that a head takes at a level of detail, from some of the layers."""
    sample = [replace(prompt, weights=prompt.weights[::SAMPLED]) for prompt in prompts]
    heads = sample[0].weights.shape[0] * sample[0].weights.shape[1]
    return max(1.0, (len(_all_at(sample, level)) - len(_all_at(sample, NONE))) / heads)


def _all_at(prompts: Sequence[Prompt], level: int) -> str:
    return _html(prompts, np.full(prompts[0].weights.shape[:2], level, np.uint8))


def _counts(chars: float, whole: float, strongest: float, heads: int) -> tuple[int, int]:
    """Return the number of heads to store whole, and of heads after them to store with their strongest keys.

    Args:
        chars: The number of characters to spend.
        whole: The characters of a whole head.
        strongest: The characters of a head's strongest keys.
        heads: The number of heads.
    """
    affordable = min(heads, max(0, int(chars / whole)))
    if whole <= strongest:  # short prompts
        return affordable, 0
    first = min(ALWAYS, affordable)
    left = chars - first * whole
    further = max(0, min(heads - first, int(left / strongest)))
    if first + further < heads:
        return first, further
    upgraded = min(further, int((left - further * strongest) / (whole - strongest)))
    return first + upgraded, further - upgraded


def _levels(order: Int64[np.ndarray, " head"], shape: tuple[int, ...], whole: int, strongest: int) -> Levels:
    levels = np.zeros(order.size, np.uint8)
    levels[order[:whole]] = WHOLE
    levels[order[whole : whole + strongest]] = STRONGEST
    return levels.reshape(shape)


def _html(prompts: Sequence[Prompt], levels: Levels) -> str:
    return "".join(ELEMENT.format(name, packed(data)) for name, data in _named_data(prompts, levels))


def _named_data(prompts: Sequence[Prompt], levels: Levels) -> Iterator[tuple[str, str | bytes]]:
    """Yield the id and the content of each element."""
    yield "patterns", script_json(_description(prompts, levels))
    for index, prompt in enumerate(prompts):
        for layer in np.flatnonzero(levels.any(1)):
            yield f"patterns-{index}-{layer}", layer_bytes(prompt.weights[layer], levels[layer])


def _description(prompts: Sequence[Prompt], levels: Levels) -> dict[str, Any]:
    return {
        "layers": levels.shape[0],
        "heads": levels.shape[1],
        "keys": KEYS,
        "levels": _base64(levels),
        "prompts": [
            {
                "name": prompt.name,
                "title": prompt.title,
                "tokens": prompt.tokens,
                "left_out": prompt.left_out,
                "sink": _base64(prompt.sink),
            }
            for prompt in prompts
        ],
    }


def layer_bytes(weights: UInt8[np.ndarray, "head query key"], levels: UInt8[np.ndarray, " head"]) -> bytes:
    """Return the stored bytes of a layer's heads, one head after another.

    Args:
        weights: Their patterns.
        levels: The level of detail of each.

    Returns:
        For a whole head its lower triangle, row by row; for a head's strongest keys, `KEYS` keys of each row, then
        their weights; nothing for the rest.
    """
    return b"".join(_head_bytes(weights[head], level) for head, level in enumerate(levels) if level != NONE)


def _head_bytes(weights: UInt8[np.ndarray, "query key"], level: int) -> bytes:
    if level == WHOLE:
        return triangles(weights[None]).tobytes()
    keys = np.argsort(255 - weights, axis=-1, kind="stable")[:, :KEYS].astype(np.uint8)
    return keys.tobytes() + np.take_along_axis(weights, keys, -1).tobytes()


def _base64(values: NDArray[np.uint8]) -> str:
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode("ascii")
