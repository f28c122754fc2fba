"""Spearman's rank correlation of scores, with all that is needed to read it: of two, of every pair, across shots."""

from collections.abc import Mapping
from itertools import combinations

import numpy as np

from headcount.results import Correlation, CorrelationMatrix, HeadScores, InputError, ShotPair
from headcount.stats.aligned import Scores, Within, align
from headcount.stats.pairwise import correlate
from headcount.stats.ranks import Variant


def spearman(
    a: Scores, b: Scores, *, variant: Variant = "spearman", within: Within = None, resamples: int = 1000, seed: int = 0
) -> Correlation:
    """Return the rank correlation of two sets of scores.

    Spearman's rho is the correlation of ranks, ties averaged. `within="layer"` correlates ranks within layers, which
    removes what depth alone explains; else the null, which permutes heads within their layers, shows how much that is.
    The interval draws the folds (interleaved parts of the examples) of each side anew, independently, since the two are
    mostly different tasks; a side without folds is taken as fixed. See `headcount.stats.resampling.interval` for its
    form.

    `variant="argsort"` is what the published code computes: it correlates the argsort permutations, which are no ranks.
    Without layer structure it is near 0 however well the rankings agree, and with it, it mostly shows the structure:
    permuting heads within layers hardly moves it, so that its null lies close around it.

    Args:
        a: Scores of heads, or of layers.
        b: Scores of the same shape.
        variant: `"spearman"` or `"argsort"`.
        within: None, or `"layer"`.
        resamples: The number of times examples are resampled and heads permuted; 0 leaves out interval and null.
        seed: Seed of both.

    Returns:
        Rho with p-value, interval, null and ceiling. Heads that are NaN on either side are left out. Rho is symmetric;
        interval and null of (b, a) differ from those of (a, b) by the noise of resampling.

    Raises:
        InputError: Shapes differ, fewer than three heads are left, or an argument is unknown.

    Source: Bansal et al. 2023, correlations between tasks; the published code for `argsort`.
    """
    aligned = align({"a": a, "b": b})
    pairs = correlate(aligned, variant, within, resamples, np.random.default_rng(seed))
    numbers = {name: float(table[0, 1]) for name, table in vars(pairs).items()}
    return Correlation(**numbers, n=aligned.n, variant=variant, within=within)


def matrix(
    scores: Mapping[str, Scores],
    *,
    variant: Variant = "spearman",
    within: Within = None,
    resamples: int = 200,
    seed: int = 0,
) -> CorrelationMatrix:
    """Return the rank correlation of every pair of scores, as `spearman` does.

    Put `aggregate(scores)` into the mapping to have it compared as well.

    Args:
        scores: Scores by name, all of one shape.
        variant: `"spearman"` or `"argsort"`.
        within: None, or `"layer"`.
        resamples: The number of times examples are resampled and heads permuted; 0 leaves out intervals and nulls.
        seed: Seed of both.

    Returns:
        Tables in the order of the names. A head that is NaN in any of the scores is left out of all.

    Raises:
        InputError: As `spearman`, or there are no scores.
    """
    aligned = align(scores)
    pairs = correlate(aligned, variant, within, resamples, np.random.default_rng(seed))
    tables = {name: tuple(tuple(row) for row in table.tolist()) for name, table in vars(pairs).items()}
    return CorrelationMatrix(tuple(scores), **tables, n=aligned.n, variant=variant, within=within)


def across_shots(
    scores: Mapping[int, Mapping[str, HeadScores]],
    *,
    variant: Variant = "spearman",
    within: Within = None,
    resamples: int = 200,
    seed: int = 0,
) -> tuple[ShotPair, ...]:
    """Return the rank correlations between numbers of solved examples in the prompt, task by task.

    Args:
        scores: By number of shots, then by task.
        variant: As in `spearman`; the paper's figures may be `"argsort"`.
        within: None, or `"layer"`.
        resamples: As in `spearman`.
        seed: As in `spearman`.

    Returns:
        One element for each pair of shots, ascending: rho of every task that was measured at both, mean and variance.

    Raises:
        InputError: As `spearman`, or two numbers of shots have no task in common.

    Source: Bansal et al. 2023, correlations between numbers of shots.
    """
    return tuple(
        _shot_pair((few, many), scores[few], scores[many], variant, within, resamples, seed)
        for few, many in combinations(sorted(scores), 2)
    )


def _shot_pair(
    shots: tuple[int, int],
    few: Mapping[str, HeadScores],
    many: Mapping[str, HeadScores],
    variant: Variant,
    within: Within,
    resamples: int,
    seed: int,
) -> ShotPair:
    common = [task for task in few if task in many]
    if not common:
        listed = f"{', '.join(few) or 'none'} and {', '.join(many) or 'none'}"
        raise InputError(f"expected a task measured at both {shots[0]} and {shots[1]} shots, got {listed}")
    correlations = {
        task: spearman(few[task], many[task], variant=variant, within=within, resamples=resamples, seed=seed)
        for task in common
    }
    rho = np.array([correlation.rho for correlation in correlations.values()])
    variance = float(rho.var(ddof=1)) if len(rho) > 1 else np.nan
    return ShotPair(shots, correlations, float(rho.mean()), variance, len(rho))
