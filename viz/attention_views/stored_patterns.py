"""Which attention weights a page carries: all of them where there is room, else those that say most."""

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Int64, UInt8
from numpy.typing import NDArray

from headcount.results import Patterns
from headcount.viz.attention_views.circuits import shown, triangles
from headcount.viz.attention_views.packing import packed, script_json

NONE, WHOLE, STRONGEST = 0, 1, 2
KEYS = 4  # of each row of a pattern that is not kept whole
LONGEST = 256  # tokens shown of a prompt; what a token attends to comes before it, so the rest can be left out
ALWAYS = 10  # heads whose whole patterns come before the strongest keys of any other
SAMPLED = 8  # one layer in so many tells how much room the heads need
ELEMENT = '<script type="application/gzip" id="{}">{}</script>\n'

Weights = UInt8[np.ndarray, "layer head query key"]
Levels = UInt8[np.ndarray, "layer head"]


@dataclass(frozen=True)
class Prompt:
    """A prompt as the page shows it.

    Attributes:
        name: What it is called in the address.
        title: What it is, for people.
        tokens: Its tokens, at most `LONGEST`.
        left_out: How many tokens come after those.
        weights: What every head attends to, in 256 levels.
    """

    name: str
    title: str
    tokens: Sequence[str]
    left_out: int
    weights: Weights

    @property
    def sink(self) -> UInt8[np.ndarray, "layer head"]:
        """The share of each head's attention that goes to position 0, over all queries but the first, as a level."""
        later = self.weights[:, :, 1:, 0]
        return np.rint(later.mean(-1)).astype(np.uint8) if later.size else self.weights[:, :, 0, 0]


def prompts_of(attention: Mapping[str, Patterns]) -> list[Prompt]:
    """The prompts of a run, as the page shows them."""
    return [
        Prompt(
            name,
            patterns.definition or name,
            [shown(token) for token in patterns.tokens[:LONGEST]],
            max(0, len(patterns.tokens) - LONGEST),
            patterns.weights[:, :, :LONGEST, :LONGEST].numpy(),
        )
        for name, patterns in attention.items()
    ]


def elements(prompts: Sequence[Prompt], order: Int64[np.ndarray, " head"], room: float) -> str:
    """The elements with which a page carries attention, one for each prompt and layer, and one that describes them.

    Args:
        prompts: What was recorded; all of one model.
        order: Flat indices of all heads, those that matter most first.
        room: Characters that may be used.

    Returns:
        HTML: whole patterns where they fit, else whole ones of the first heads in `order` and the strongest keys of
        each row for as many others as there is room for.
    """
    if not prompts:
        return ""
    nothing = _all_at(prompts, NONE)
    spare, costs = room - len(nothing), (_cost(prompts, WHOLE), _cost(prompts, STRONGEST))
    shape = prompts[0].weights.shape[:2]
    for share in (1.0, 0.95, 0.9, 0.8, 0.6, 0.4, 0.2):
        text = _written(prompts, _levels(order, shape, *_counts(spare * share, *costs, order.size)))
        if len(text) <= room:
            return text
    return nothing


def _cost(prompts: Sequence[Prompt], level: int) -> float:
    """About how many characters a head takes that is kept in this way, from a few of the layers."""
    few = [replace(prompt, weights=prompt.weights[::SAMPLED]) for prompt in prompts]
    heads = few[0].weights.shape[0] * few[0].weights.shape[1]
    return max(1.0, (len(_all_at(few, level)) - len(_all_at(few, NONE))) / heads)


def _all_at(prompts: Sequence[Prompt], level: int) -> str:
    return _written(prompts, np.full(prompts[0].weights.shape[:2], level, np.uint8))


def _counts(room: float, whole: float, strongest: float, heads: int) -> tuple[int, int]:
    """How many heads are kept whole, and how many after them with their strongest keys."""
    affordable = min(heads, max(0, int(room / whole)))
    if whole <= strongest:  # short prompts
        return affordable, 0
    first = min(ALWAYS, affordable)
    left = room - first * whole
    others = max(0, min(heads - first, int(left / strongest)))
    if first + others < heads:
        return first, others
    more = min(others, int((left - others * strongest) / (whole - strongest)))
    return first + more, others - more


def _levels(order: Int64[np.ndarray, " head"], shape: tuple[int, ...], whole: int, strongest: int) -> Levels:
    levels = np.zeros(order.size, np.uint8)
    levels[order[:whole]] = WHOLE
    levels[order[whole : whole + strongest]] = STRONGEST
    return levels.reshape(shape)


def _written(prompts: Sequence[Prompt], levels: Levels) -> str:
    return "".join(ELEMENT.format(name, packed(data)) for name, data in _parts(prompts, levels))


def _parts(prompts: Sequence[Prompt], levels: Levels) -> Iterator[tuple[str, str | bytes]]:
    yield "patterns", script_json(_described(prompts, levels))
    for index, prompt in enumerate(prompts):
        for layer in np.flatnonzero(levels.any(1)):
            yield f"patterns-{index}-{layer}", layer_bytes(prompt.weights[layer], levels[layer])


def _described(prompts: Sequence[Prompt], levels: Levels) -> dict[str, Any]:
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
    """The heads of a layer one after another.

    Args:
        weights: Their patterns.
        levels: How each is kept.

    Returns:
        For a head that is kept whole its lower triangle, row by row; for one of which the strongest keys are kept,
        `KEYS` keys of each row, then their weights; nothing for the others.
    """
    return b"".join(_head_bytes(weights[head], level) for head, level in enumerate(levels) if level != NONE)


def _head_bytes(weights: UInt8[np.ndarray, "query key"], level: int) -> bytes:
    if level == WHOLE:
        return triangles(weights[None]).tobytes()
    keys = np.argsort(255 - weights, axis=-1, kind="stable")[:, :KEYS].astype(np.uint8)
    return keys.tobytes() + np.take_along_axis(weights, keys, -1).tobytes()


def _base64(values: NDArray[np.uint8]) -> str:
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode("ascii")
