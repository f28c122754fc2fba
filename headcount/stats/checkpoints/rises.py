"""Rises of a head's score over training: between which checkpoints it forms."""

from collections.abc import Mapping
from itertools import pairwise
from math import isnan, nan, sqrt
from typing import NamedTuple

from headcount.results import HeadScores, InputError


class Rise(NamedTuple):
    """The rise of a head's score from one checkpoint to the next.

    Attributes:
        before: The training step of the first.
        after: The training step of the second.
        size: The rise.
        stderr: Its standard error; NaN where unknown.
    """

    before: int
    after: int
    size: float
    stderr: float

    @property
    def is_sure(self) -> bool:
        """True if it is above twice its standard error; without one, never."""
        return self.size > 2 * self.stderr


def largest_rise(scores: Mapping[int, HeadScores], head: tuple[int, int]) -> Rise:
    """Return the largest rise of a head's score from one checkpoint to the next.

    The error treats the two as measured on different sequences; on the same ones it is too large rather than too small.

    Args:
        scores: One score by training step.
        head: The layer and head.

    Raises:
        InputError: As `check_checkpoints`.
    """
    steps = check_checkpoints(scores)
    rises = []
    for before, after in pairwise(steps):
        (low, low_error), (high, high_error) = _value(scores[before], head), _value(scores[after], head)
        rises.append(Rise(before, after, high - low, sqrt(low_error**2 + high_error**2)))
    measured = [rise for rise in rises if not isnan(rise.size)]
    return max(measured, key=lambda rise: rise.size, default=Rise(steps[0], steps[-1], nan, nan))


def check_checkpoints(scores: Mapping[int, HeadScores]) -> list[int]:
    """Return the training steps in order.

    Raises:
        InputError: There are fewer than two, or they do not belong together.
    """
    if len(scores) < 2:
        raise InputError(f"scores: expected two checkpoints or more, got {len(scores)}")
    if len({(part.shape, part.measure, part.definition) for part in scores.values()}) > 1:
        raise InputError("scores: expected one score of one shape at every step, got several: measure them alike")
    return sorted(scores)


def _value(scores: HeadScores, head: tuple[int, int]) -> tuple[float, float]:
    """Return a head's score and its standard error; NaN where unknown."""
    return float(scores.values[head]), nan if scores.stderr is None else float(scores.stderr[head])
