"""Ranks and their correlation, as arithmetic on arrays.

An entry is a head (or a layer). `layers` holds each entry's layer, in ascending order. Everything works on any number
of rankings at once along the axes before the last.
"""

from typing import Literal

import numpy as np
from jaxtyping import Float, Int
from numpy.random import Generator
from scipy import stats

Variant = Literal["spearman", "argsort"]
Layers = Int[np.ndarray, " entry"] | None


def centred_ranks(
    values: Float[np.ndarray, "*batch entry"], layers: Layers = None
) -> Float[np.ndarray, "*batch entry"]:
    """Return ranks less their mean, ties averaged.

    Args:
        values: Scores without NaN.
        layers: If set, ranks are taken within each layer, and less the mean rank of that layer, so that layers of
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
    """Return the argsort permutation less its mean.

    Its k-th number is the entry at place k, that of `centred_ranks` the place of entry k.
    """
    return np.argsort(values, axis=-1, kind="stable") - (values.shape[-1] - 1) / 2


def directions(
    values: Float[np.ndarray, "*batch entry"], variant: Variant, layers: Layers = None
) -> Float[np.ndarray, "*batch entry"]:
    """Return centred ranks of length 1, so that the dot product of two is rho. NaN where all values are equal."""
    if variant == "argsort":
        return unit(centred_places(values))
    return unit(centred_ranks(values, layers))


def correlations(units: Float[np.ndarray, "*batch task entry"]) -> Float[np.ndarray, "*batch task task"]:
    """Return rho of every pair of tasks, -1..1."""
    return np.clip(units @ np.swapaxes(units, -1, -2), -1, 1)


def p_values(rho: Float[np.ndarray, "*batch"], n: int) -> Float[np.ndarray, "*batch"]:
    """Return two-sided p-values of no association; 0 for rho = ±1.

    t = rho · sqrt((n - 2) / (1 - rho²)) against Student's t.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        t = rho * np.sqrt((n - 2) / ((1 - rho) * (1 + rho)))
    return 2 * stats.t.sf(np.abs(t), n - 2)


def halved(
    folds: Float[np.ndarray, "fold entry"], halvings: int, rng: Generator, layers: Layers = None
) -> Float[np.ndarray, " halving"]:
    """Return Spearman's rho between the means of two halves of the folds: odd against even first, then at random."""
    n = len(folds)
    regular = np.concatenate([np.arange(1, n, 2), np.arange(0, n, 2)])
    orders = np.stack([regular, *(rng.permutation(n) for _ in range(halvings - 1))])
    halves = folds[orders[:, : n // 2]].mean(1), folds[orders[:, n // 2 :]].mean(1)
    first, second = (directions(half, "spearman", layers) for half in halves)
    return np.clip((first * second).sum(-1), -1, 1)


def spearman_brown(rho: float) -> float:
    """Return the reliability of a measurement twice as long, 2 rho / (1 + rho); at rho = -1 it is -inf."""
    return 2 * rho / (1 + rho) if rho > -1 else -np.inf


def unit(centred: Float[np.ndarray, "*batch entry"]) -> Float[np.ndarray, "*batch entry"]:
    """Return vectors of length 1; NaN for one that is 0."""
    with np.errstate(invalid="ignore"):
        return centred / np.sqrt((centred**2).sum(-1, keepdims=True))
