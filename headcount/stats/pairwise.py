"""Rank correlations of every pair of tasks at once, in arrays."""

from dataclasses import dataclass
from typing import get_args

import numpy as np
from jaxtyping import Float
from numpy.random import Generator

from headcount.results import InputError
from headcount.stats import ranks, resampling
from headcount.stats.aligned import Aligned, Within, check_resamples
from headcount.stats.ranks import Layers, Variant

HALVINGS = 20

Square = Float[np.ndarray, "task task"]


@dataclass(frozen=True)
class Pairs:
    """The tables of a `CorrelationMatrix`, as arrays."""

    rho: Square
    p_value: Square
    low: Square
    high: Square
    null_mean: Square
    null_low: Square
    null_high: Square
    null_p: Square
    ceiling: Square


def correlate(aligned: Aligned, variant: Variant, within: Within, resamples: int, rng: Generator) -> Pairs:
    """Correlate every task with every other; `Correlation` explains each number.

    Args:
        aligned: The tasks' scores.
        variant: `"spearman"` or `"argsort"`.
        within: None, or `"layer"`.
        resamples: The number of times examples are resampled and heads permuted; 0 leaves NaN in their tables.
        rng: The source of both.

    Raises:
        InputError: An argument is unknown, or does not go with the others.
    """
    layers = aligned.ranked_in(within)
    _check(variant, within, resamples)
    units = ranks.directions(aligned.values, variant, layers)
    rho = ranks.correlations(units)
    low, high = _intervals(rho, aligned, variant, layers, resamples, rng)
    null_mean, null_low, null_high, null_p = _null(rho, units, aligned.layers, variant, resamples, rng)
    p_value = ranks.p_values(rho, aligned.n) if within is None else null_p.copy()
    same = np.diag(~np.isnan(np.diag(rho)))
    for table, value in ((rho, 1), (low, 1), (high, 1), (p_value, 0)):
        table[same] = value
    ceiling = _ceiling(aligned, layers, rng) if variant == "spearman" else np.full_like(rho, np.nan)
    return Pairs(rho, p_value, low, high, null_mean, null_low, null_high, null_p, ceiling)


def _check(variant: Variant, within: Within, resamples: int) -> None:
    if variant not in get_args(Variant):
        raise InputError(f"variant must be one of {', '.join(get_args(Variant))}, not {variant!r}")
    if variant == "argsort" and within:
        raise InputError("argsort is what the published code computes, over all heads: within='layer' needs spearman")
    check_resamples(resamples)


def _intervals(
    rho: Square, aligned: Aligned, variant: Variant, layers: Layers, resamples: int, rng: Generator
) -> tuple[Square, Square]:
    freedom = aligned.freedom()
    if not resamples or np.isnan(freedom).all():
        return np.full_like(rho, np.nan), np.full_like(rho, np.nan)
    replicates = []
    for count in resampling.chunks(resamples, aligned.values.size):
        drawn = [
            resampling.resampled(row, folds, count, rng)
            for row, folds in zip(aligned.values, aligned.folds, strict=True)
        ]
        units = ranks.directions(np.stack(drawn, axis=1), variant, layers)
        replicates.append(ranks.correlations(units))
    return resampling.interval(rho, np.concatenate(replicates), aligned.n, freedom)


def _null(
    rho: Square,
    units: Float[np.ndarray, "task entry"],
    layers: Layers,
    variant: Variant,
    resamples: int,
    rng: Generator,
) -> tuple[Square, Square, Square, Square]:
    """Return mean, bounds and two-sided p of rho when the second task's heads are permuted within their layers."""
    if not resamples or layers is None:
        nothing = np.full_like(rho, np.nan)
        return nothing, nothing, nothing, nothing
    steps = []
    for count in resampling.chunks(resamples, units.size):
        moved = resampling.shuffled_directions(units, resampling.shuffles(layers, count, rng), variant)
        steps.append(units @ np.swapaxes(moved, -1, -2))
    # A pair has one null, so that the tables are symmetric.
    draws = _symmetric(np.concatenate(steps))
    # Exact, so that of outcomes equally far on both sides none is missed.
    mean = _symmetric(units @ resampling.mean_shuffled_direction(units, layers, variant).T)
    as_far = np.abs(draws - mean) >= np.abs(rho - mean) - 1e-12
    p = np.where(np.isnan(rho), np.nan, (1 + as_far.sum(0)) / (1 + resamples))
    low, high = resampling.middle(draws)
    return mean, low, high, p


def _symmetric(table: Float[np.ndarray, "*resample task task"]) -> Float[np.ndarray, "*resample task task"]:
    """Return the upper triangle, mirrored."""
    return np.triu(table) + np.swapaxes(np.triu(table, 1), -1, -2)


def _ceiling(aligned: Aligned, layers: Layers, rng: Generator) -> Square:
    """Return the root of the product of two reliabilities, those below 0 taken as 0."""
    reliabilities = [
        np.nan if folds is None else ranks.spearman_brown(float(ranks.halved(folds, HALVINGS, rng, layers).mean()))
        for folds in aligned.folds
    ]
    root = np.sqrt(np.maximum(reliabilities, 0))
    return root[:, None] * root
