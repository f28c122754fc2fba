"""Rank correlation and its resampling, as arithmetic on arrays.

An entry is a head (or a layer). `layers` tells each entry's layer, in ascending order. Everything works on any number
of rankings at once along the axes before the last.
"""

from collections.abc import Iterator
from typing import Literal

import numpy as np
from jaxtyping import Float, Int
from numpy.random import Generator
from scipy import stats

Variant = Literal["spearman", "argsort"]
Layers = Int[np.ndarray, " entry"] | None

LEVEL = 0.95
CHUNK = 2_000_000
"""How many numbers one step of resampling works on: 16 MB, whatever the model's size."""


def centred_ranks(
    values: Float[np.ndarray, "*batch entry"], layers: Layers = None
) -> Float[np.ndarray, "*batch entry"]:
    """Ranks less their mean, ties averaged.

    Args:
        values: Scores without NaN.
        layers: If given, ranks are taken within each layer, and less the mean rank of that layer, so that layers of
            different sizes do not rank against each other.
    """
    n = values.shape[-1]
    ranks = stats.rankdata(values, axis=-1)
    if layers is None:
        return ranks - (n + 1) / 2
    _, sizes = np.unique(layers, return_counts=True)
    before = np.cumsum(sizes) - sizes
    return stats.rankdata(ranks + layers * (n + 1), axis=-1) - np.repeat(before + (sizes + 1) / 2, sizes)


def centred_places(values: Float[np.ndarray, "*batch entry"]) -> Float[np.ndarray, "*batch entry"]:
    """The argsort permutation less its mean: which entry is k-th, where a rank would say how high the k-th entry is."""
    return np.argsort(values, axis=-1, kind="stable") - (values.shape[-1] - 1) / 2


def directions(
    values: Float[np.ndarray, "*batch entry"], variant: Variant, layers: Layers = None
) -> Float[np.ndarray, "*batch entry"]:
    """What is correlated, centred and of length 1: the dot product of two is rho. NaN where all values are equal."""
    if variant == "argsort":
        return _unit(centred_places(values))
    return _unit(centred_ranks(values, layers))


def correlations(units: Float[np.ndarray, "*batch task entry"]) -> Float[np.ndarray, "*batch task task"]:
    """Rho of every pair of tasks, -1..1."""
    return np.clip(units @ np.swapaxes(units, -1, -2), -1, 1)


def p_values(rho: Float[np.ndarray, "*batch"], n: int) -> Float[np.ndarray, "*batch"]:
    """Two-sided p-value of no association, t = rho · sqrt((n - 2) / (1 - rho²)) against Student's t; 0 for rho = ±1."""
    with np.errstate(divide="ignore", invalid="ignore"):
        t = rho * np.sqrt((n - 2) / ((1 - rho) * (1 + rho)))
    return 2 * stats.t.sf(np.abs(t), n - 2)


def resampled(
    values: Float[np.ndarray, " entry"], folds: Float[np.ndarray, "fold entry"] | None, count: int, rng: Generator
) -> Float[np.ndarray, "resample entry"]:
    """Scores as other examples would give them: folds drawn with replacement.

    The mean of F folds drawn from F varies by (F - 1) / F of what it should; deviations are scaled up by the root of
    that. Without at least two folds the values are taken as fixed.
    """
    if folds is None or len(folds) < 2:
        return np.broadcast_to(values, (count, len(values)))
    n = len(folds)
    shares = rng.multinomial(n, np.full(n, 1 / n), count) / n
    return values + np.sqrt(n / (n - 1)) * (shares @ folds - folds.mean(0))


def shuffles(layers: Int[np.ndarray, " entry"], count: int, rng: Generator) -> Int[np.ndarray, "resample entry"]:
    """Random permutations of the entries that leave each in its layer."""
    return np.argsort(layers + rng.random((count, len(layers))), axis=-1)


def shuffled_directions(
    units: Float[np.ndarray, "task entry"], moves: Int[np.ndarray, "resample entry"], variant: Variant
) -> Float[np.ndarray, "resample task entry"]:
    """What `directions` gives once the entries have been moved: ranks move along, an argsort names the new places."""
    if variant == "spearman":
        return np.swapaxes(units[:, moves], 0, 1)
    return _unit(moves[:, _places(units)] - (units.shape[-1] - 1) / 2)


def mean_shuffled_direction(
    units: Float[np.ndarray, "task entry"], layers: Int[np.ndarray, " entry"], variant: Variant
) -> Float[np.ndarray, "task entry"]:
    """The exact mean of `shuffled_directions` over all permutations: every entry has its layer's mean."""
    member = (layers[:, None] == np.unique(layers)).astype(float)
    average = (member / member.sum(0)).T
    if variant == "spearman":
        return units @ average.T @ member.T
    n = len(layers)
    place = member @ (average @ (np.arange(n) - (n - 1) / 2))
    return place[_places(units)] / np.sqrt(n * (n**2 - 1) / 12)


def interval(
    rho: Float[np.ndarray, "*batch"],
    replicates: Float[np.ndarray, " resample *batch"],
    n: int,
    freedom: Float[np.ndarray, "*batch"],
) -> tuple[Float[np.ndarray, "*batch"], Float[np.ndarray, "*batch"]]:
    """The 95 % interval of a correlation, from resampled ones.

    atanh(rho) ± t · s, with s the standard deviation of atanh over the replicates and t Student's quantile, taken back
    by tanh. Replicates carry the noise of the examples twice, once from the data and once from the resampling, so they
    lie below rho: their quantiles miss what fresh examples would give, the more so the more entries there are
    (percentile and basic intervals covered it in 0 to 97 % of simulated data sets), while their spread is right or a
    little wide (this interval covered it in 94 to 100 %).

    Args:
        rho: As measured.
        replicates: The same from resampled scores.
        n: The number of entries. ±1 is taken as half a step of Spearman's rho inside, where atanh is finite.
        freedom: Degrees of freedom, the number of folds less 1; NaN gives NaN.
    """
    edge = 1 - 6 / (n**3 - n)
    spread = np.arctanh(np.clip(replicates, -edge, edge)).std(0, ddof=1)
    reach = stats.t.ppf((1 + LEVEL) / 2, freedom) * spread
    centre = np.arctanh(np.clip(rho, -edge, edge))
    return np.minimum(np.tanh(centre - reach), rho), np.maximum(np.tanh(centre + reach), rho)


def middle(draws: Float[np.ndarray, " resample *batch"]) -> Float[np.ndarray, " 2 *batch"]:
    """The bounds of the middle 95 % of draws."""
    return np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)


def halved(
    folds: Float[np.ndarray, "fold entry"], halvings: int, rng: Generator, layers: Layers = None
) -> Float[np.ndarray, " halving"]:
    """Spearman's rho between the means of two halves of the folds: odd against even first, then at random."""
    n = len(folds)
    regular = np.concatenate([np.arange(1, n, 2), np.arange(0, n, 2)])
    orders = np.stack([regular, *(rng.permutation(n) for _ in range(halvings - 1))])
    halves = folds[orders[:, : n // 2]].mean(1), folds[orders[:, n // 2 :]].mean(1)
    first, second = (directions(half, "spearman", layers) for half in halves)
    return np.clip((first * second).sum(-1), -1, 1)


def spearman_brown(rho: float) -> float:
    """The reliability of a measurement twice as long, 2 rho / (1 + rho); at rho = -1 it is -inf."""
    return 2 * rho / (1 + rho) if rho > -1 else -np.inf


def chunks(total: int, width: int) -> Iterator[int]:
    """Splits `total` resamples of `width` numbers each into steps of bounded size."""
    step = max(1, CHUNK // width)
    yield from (min(step, total - start) for start in range(0, total, step))


def _places(units: Float[np.ndarray, "task entry"]) -> Int[np.ndarray, "task entry"]:
    """The argsort permutations back from their directions, which are in the same order."""
    return np.argsort(np.argsort(units, axis=-1), axis=-1)


def _unit(centred: Float[np.ndarray, "*batch entry"]) -> Float[np.ndarray, "*batch entry"]:
    with np.errstate(invalid="ignore"):
        return centred / np.sqrt((centred**2).sum(-1, keepdims=True))
