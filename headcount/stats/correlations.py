"""Do two measurements rank the same heads high? Rank correlations with all that is needed to read them."""

from collections.abc import Mapping
from itertools import combinations

import numpy as np
from scipy.cluster import hierarchy
from scipy.spatial.distance import squareform

from headcount.results import (
    Clusters,
    Correlation,
    CorrelationMatrix,
    HeadScores,
    InputError,
    Merge,
    Reliability,
    ShotPair,
)
from headcount.stats import ranks
from headcount.stats.aligned import Scores, Within, align
from headcount.stats.pairs import HALVINGS, correlate
from headcount.stats.ranks import Variant


def spearman(
    a: Scores, b: Scores, *, variant: Variant = "spearman", within: Within = None, resamples: int = 1000, seed: int = 0
) -> Correlation:
    """Rank correlation of two sets of scores.

    Spearman's rho is the correlation of ranks, ties averaged. `within="layer"` correlates ranks within layers, which
    removes what depth alone explains; else the null, which permutes heads within their layers, tells how much that is.
    The interval draws the folds (interleaved parts of the examples) of each side anew, independently, since the two are
    mostly different tasks; a side without folds is taken as fixed. See `headcount.stats.ranks.interval` for its form.

    `variant="argsort"` is what the published code computes: it correlates the argsort permutations, which are no ranks.
    Without layer structure it is near 0 however well the rankings agree, and with it, it mostly shows the structure:
    permuting heads within layers hardly moves it, so that its null lies close around it.

    Args:
        a: Scores of heads, or of layers.
        b: Scores of the same shape.
        variant: `"spearman"` or `"argsort"`.
        within: None, or `"layer"`.
        resamples: How many times examples are resampled and heads permuted; 0 leaves out interval and null.
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
    """Rank correlation of each with each, as `spearman`; put `aggregate(scores)` into the mapping to have it compared.

    Args:
        scores: Scores by name, all of one shape.
        variant: `"spearman"` or `"argsort"`.
        within: None, or `"layer"`.
        resamples: How many times examples are resampled and heads permuted; 0 leaves out intervals and nulls.
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


def reliability(a: Scores, *, within: Within = None, halvings: int = HALVINGS, seed: int = 0) -> Reliability:
    """Split-half reliability: Spearman's rho of the scores with themselves, from one and the other half of the folds.

    Args:
        a: Scores with at least two folds.
        within: None, or `"layer"` for ranks within layers.
        halvings: How many halvings to average: odd against even folds, then random ones.
        seed: Seed of the random ones.

    Returns:
        The mean, -1..1, also corrected to the full number of examples (for ranks an approximation).

    Raises:
        InputError: There are fewer than two folds or three heads, or an argument is out of range.
    """
    if halvings < 1:
        raise InputError(f"halvings must be at least 1, not {halvings}")
    aligned = align({"a": a})
    layers = aligned.ranked_in(within)
    (folds,) = aligned.folds
    if folds is None:
        raise InputError("reliability needs scores with at least two folds; measure them on at least two examples")
    found = ranks.halved(folds, halvings, np.random.default_rng(seed), layers)
    rho = float(found.mean())
    return Reliability(
        rho=rho,
        corrected=ranks.spearman_brown(rho),
        lowest=float(found.min()),
        highest=float(found.max()),
        halvings=halvings,
        n_folds=len(folds),
        n=aligned.n,
        within=within,
    )


def clusters(matrix: CorrelationMatrix) -> Clusters:
    """Groups names that rank heads alike: hierarchical clustering, average linkage on the distance 1 - rho.

    Args:
        matrix: From `matrix`.

    Returns:
        An order in which neighbours are alike, and the steps of the tree.

    Raises:
        InputError: A rho is NaN.
    """
    rho = np.array(matrix.rho)
    if np.isnan(rho).any():
        constant = ", ".join(np.array(matrix.names)[np.isnan(rho).all(0)])
        raise InputError(f"clusters needs a rho for every pair, got NaN; leave out {constant}: all scores are equal")
    if len(matrix.names) == 1:
        return Clusters(matrix.names, matrix.names, ())
    tree = hierarchy.linkage(squareform(1 - rho, checks=False), method="average", optimal_ordering=True)
    merges = tuple(Merge(int(left), int(right), float(height), int(size)) for left, right, height, size in tree)
    return Clusters(matrix.names, tuple(matrix.names[place] for place in hierarchy.leaves_list(tree)), merges)


def across_shots(
    scores: Mapping[int, Mapping[str, HeadScores]],
    *,
    variant: Variant = "spearman",
    within: Within = None,
    resamples: int = 200,
    seed: int = 0,
) -> tuple[ShotPair, ...]:
    """How far the ranking of heads stays the same with more solved examples in the prompt.

    Args:
        scores: By number of shots, then by task.
        variant: As in `spearman`; the paper's own figures may be `"argsort"`.
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
    found = {
        task: spearman(few[task], many[task], variant=variant, within=within, resamples=resamples, seed=seed)
        for task in common
    }
    rho = np.array([correlation.rho for correlation in found.values()])
    variance = float(rho.var(ddof=1)) if len(rho) > 1 else np.nan
    return ShotPair(shots, found, float(rho.mean()), variance, len(rho))
