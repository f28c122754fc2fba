"""Verdicts on heads: does a task need a head with a high score, or does the head only go along?

A high score says that a head does something, not that a task needs it. The head is removed: alone, beside removals of
other heads of its layer, and together with the other heads of its kind.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import stats

from headcount.results import InputError
from headcount.stats.resampling import LEVEL

PRIMARY, SECONDARY, CORRELATE, INTERFERER, UNDECIDED = VERDICTS = (
    "primary",
    "secondary",
    "correlate",
    "interferer",
    "undecided",
)
NEGLIGIBLE = 0.05
"""The mean change of the gold log-probability, in nats, below which a removal neither hurts nor helps."""


class Effect(NamedTuple):
    """The mean of a paired difference over documents, in nats of the gold log-probability.

    Attributes:
        mean: The mean.
        low: The lower bound of its 95 % interval, by Student's t.
        high: The upper bound.
        p: Two-sided p-value of a mean of 0, corrected over the heads (Benjamini and Hochberg).
    """

    mean: float
    low: float
    high: float
    p: float


class HeadVerdict(NamedTuple):
    """The verdict on one head.

    Attributes:
        verdict: `primary`: its removal hurts, beyond that of other heads of its layer. `interferer`: the task gets
            better without it. `secondary`: alone its removal does not hurt so, among the others of its kind it does.
            `correlate`: neither hurts by more than `NEGLIGIBLE`. `undecided`: the documents do not tell.
        alone: The fall without this head alone.
        beyond: That, less the mean fall without each of some other heads of its layer.
        within: The fall without all heads of its kind, less that without all but this one.
    """

    verdict: str
    alone: Effect
    beyond: Effect
    within: Effect


def head_verdicts(
    alone: Float[np.ndarray, "document head"],
    matched: Float[np.ndarray, "document head"],
    within: Float[np.ndarray, "document head"],
) -> list[HeadVerdict]:
    """Return a verdict on every head, from falls of the gold log-probability in nats, paired by document.

    Args:
        alone: The fall when this head alone is removed.
        matched: The mean fall when each of some other heads of the same layer is removed alone.
        within: The further fall when this head is removed after all others of its kind.

    Raises:
        InputError: There are fewer than two documents, or the arrays differ in shape.

    Source: the classes of arXiv 2606.05378; correction over heads by Benjamini and Hochberg 1995.
    """
    if not alone.shape == matched.shape == within.shape or len(alone) < 2:
        raise InputError(
            f"verdicts need the same heads on two documents or more, got {alone.shape}, {matched.shape}, {within.shape}"
        )
    effects = zip(_effects(alone), _effects(alone - matched), _effects(within), strict=True)
    return [HeadVerdict(_verdict(*of_head), *of_head) for of_head in effects]


def _effects(falls: Float[np.ndarray, "document head"]) -> list[Effect]:
    """Return the mean of each head's falls, with interval and corrected p-value."""
    n = len(falls)
    mean, error = falls.mean(0), falls.std(0, ddof=1) / np.sqrt(n)
    reach = stats.t.ppf((1 + LEVEL) / 2, n - 1) * error
    with np.errstate(divide="ignore", invalid="ignore"):
        p = 2 * stats.t.sf(np.abs(mean / error), n - 1)
    p = np.where(error > 0, p, mean == 0)  # without any spread, the mean is 0 or it is not
    corrected = stats.false_discovery_control(p)
    columns = (mean, mean - reach, mean + reach, corrected)
    return [Effect(*map(float, row)) for row in zip(*columns, strict=True)]


def _verdict(alone: Effect, beyond: Effect, within: Effect) -> str:
    if _hurts(alone) and _hurts(beyond):
        return PRIMARY
    if alone.mean < -NEGLIGIBLE and alone.p < 1 - LEVEL:
        return INTERFERER
    if _hurts(within):
        return SECONDARY
    if max(alone.high, within.high) < NEGLIGIBLE:
        return CORRELATE
    return UNDECIDED


def _hurts(effect: Effect) -> bool:
    return effect.mean > NEGLIGIBLE and effect.p < 1 - LEVEL
