"""Split-half reliability: agreement of scores with themselves when measured on other examples."""

import numpy as np

from headcount.results import InputError, Reliability
from headcount.stats import ranks
from headcount.stats.aligned import Scores, Within, align
from headcount.stats.pairwise import HALVINGS


def reliability(a: Scores, *, within: Within = None, halvings: int = HALVINGS, seed: int = 0) -> Reliability:
    """Return Spearman's rho of scores with themselves, from one and the other half of the folds.

    Args:
        a: Scores with at least two folds.
        within: None, or `"layer"` for ranks within layers.
        halvings: The number of halvings to average: odd against even folds, then random ones.
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
    correlations = ranks.halved(folds, halvings, np.random.default_rng(seed), layers)
    rho = float(correlations.mean())
    return Reliability(
        rho=rho,
        corrected=ranks.spearman_brown(rho),
        lowest=float(correlations.min()),
        highest=float(correlations.max()),
        halvings=halvings,
        n_folds=len(folds),
        n=aligned.n,
        within=within,
    )
