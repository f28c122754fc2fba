"""Sets of heads: the highest ones of each kind, and random ones with as many heads in each layer."""

from collections.abc import Mapping, Sequence
from math import floor
from typing import NamedTuple

import torch
from jaxtyping import Bool
from torch import Tensor

from headcount.results import HeadScores, InputError

Heads = Bool[Tensor, "layer head"]


class HeadSet(NamedTuple):
    """Some heads of one kind.

    Attributes:
        kind: The kind, such as `induction`.
        percent: The share of all heads that the kind's highest ones are.
        without_others: True if the highest heads of the other kinds, at the same share, are left out.
        heads: True for a head of the set.
    """

    kind: str
    percent: float
    without_others: bool
    heads: Heads


def head_sets(kinds: Mapping[str, HeadScores], percents: Sequence[float], exists: Heads) -> list[HeadSet]:
    """Return the highest heads of every kind at every share; each also without those of the other kinds.

    A set is floor(percent · heads / 100) heads, at least one. One that the other kinds leave nothing of, or all, is not
    listed a second time.

    Args:
        kinds: Scores by kind, all of one shape: the higher, the more a head is of the kind.
        percents: Shares of all heads, above 0 and at most 50.
        exists: True for heads that the model has.

    Raises:
        InputError: There is no kind, the shapes differ, or a share is out of range.
    """
    if not kinds:
        raise InputError("expected scores of at least one kind of head")
    for kind, scores in kinds.items():
        if not isinstance(scores, HeadScores) or scores.shape != tuple(exists.shape):
            shape = list(getattr(scores, "shape", []))
            raise InputError(f"expected scores of {list(exists.shape)} heads for {kind!r}, got {shape}")
    if wrong := [percent for percent in percents if not 0 < percent <= 50]:
        raise InputError(f"expected shares above 0 and at most 50 %, got {wrong[0]:g}")
    sets = []
    for percent in percents:
        highest = {kind: _highest(scores, percent, exists) for kind, scores in kinds.items()}
        for kind, heads in highest.items():
            sets.append(HeadSet(kind, float(percent), False, heads))
            others = [other for name, other in highest.items() if name != kind]
            alone = heads & ~torch.stack(others).any(0) if others else heads
            if alone.any() and not torch.equal(alone, heads):
                sets.append(HeadSet(kind, float(percent), True, alone))
    return sets


def _highest(scores: HeadScores, percent: float, exists: Heads) -> Heads:
    """Return the highest heads of a score; those without one (NaN) never are."""
    values = scores.values.masked_fill(~exists | scores.values.isnan(), -torch.inf).flatten()
    count = min(max(1, floor(percent * int(exists.sum()) / 100)), int(values.isfinite().sum()))
    heads = torch.zeros(values.shape, dtype=torch.bool)
    heads[values.argsort(descending=True, stable=True)[:count]] = True
    return heads.view(exists.shape)


def matched_heads(heads: Heads, exists: Heads, seed: int) -> Heads:
    """Return a random set with as many heads in each layer, of heads that are not in the set.

    Where a layer has too few others, all of them are in it and the rest is drawn from the set itself.

    Args:
        heads: The set.
        exists: True for heads that the model has.
        seed: Seed of the draw.
    """
    draw = torch.rand(heads.shape, generator=torch.Generator().manual_seed(seed))
    order = draw + 1.0 * heads + 2.0 * ~exists  # others first, then the set, then what is not there
    place = order.argsort(-1).argsort(-1)
    matched: Heads = place < heads.sum(-1, keepdim=True)
    return matched
