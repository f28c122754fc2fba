"""Scores by depth: one score for the heads of each layer, or one at each relative depth."""

import numpy as np
import torch
from torch import Tensor

from headcount.results import InputError, LayerScores
from headcount.stats.aligned import Scores, check_share


def by_layer(scores: Scores, *, share: bool = False) -> LayerScores:
    """Return the mean over the heads of each layer, or each layer's share of the sum.

    Args:
        scores: Scores of heads; those of layers are returned as they are.
        share: Divide each layer's sum by that of all layers. Scores must be at least 0.

    Returns:
        One score a layer, NaN where there are no heads; heads of NaN are left out of a mean. `variance / n` is the
        square of its standard error over examples, taken from the folds: their variance divided by their number.
        Without folds it comes from the variances, as if heads were independent, which makes it too small where heads
        move together.

    Raises:
        InputError: `share` of scores that have a negative entry, or NaN in a layer that has other scores, or are all 0.
    """
    if share:
        by_row = scores.values.reshape(scores.shape[0], -1)
        check_share(scores.measure or "scores", by_row[~by_row.isnan().all(1)].numpy())
    elif isinstance(scores, LayerScores):
        return scores
    reduce = _shares if share else _means
    folds = None if scores.folds is None else reduce(scores.folds.double().reshape(*scores.folds.shape[:2], -1))
    values = scores.values.double().reshape(scores.shape[0], -1)
    return LayerScores(
        reduce(values),
        variance=_variance(scores, values, folds, share),
        n=scores.n,
        folds=folds,
        measure=scores.measure,
        definition=f"{'share of each layer' if share else 'mean over heads'}: {scores.definition}",
        provenance=scores.provenance,
    )


def at_depths(scores: Scores, n: int) -> LayerScores:
    """Return scores by relative depth, so that models of different numbers of layers can be compared.

    Layer l of L lies at depth (l + 1/2) / L; between layers, `by_layer`'s means are interpolated linearly.

    Args:
        scores: Scores of heads, or of layers.
        n: The number of depths, (k + 1/2) / n.

    Returns:
        A score a depth, with folds if the scores have them, and no variance. A layer of NaN is passed over.

    Raises:
        InputError: `n` is no whole number of 1 or more, or no layer has a score.
    """
    means = by_layer(scores)
    if type(n) is not int or n < 1 or means.values.isnan().all():
        got = f"{n} depths, {int((~means.values.isnan()).sum())} layers with a score"
        raise InputError(f"expected 1 depth or more, and a layer or more that has a score; got {got}")
    layer_depths, depths = (np.arange(count) / count + 0.5 / count for count in (len(means.values), n))

    def interpolated(values: Tensor) -> Tensor:
        measured = ~values.isnan().numpy()
        return torch.from_numpy(np.interp(depths, layer_depths[measured], values.double().numpy()[measured]))

    return LayerScores(
        interpolated(means.values),
        n=scores.n,
        folds=None if means.folds is None else torch.stack([interpolated(fold) for fold in means.folds]),
        measure=scores.measure,
        definition=f"at {n} depths: {means.definition}",
        provenance=scores.provenance,
    )


def _means(values: Tensor) -> Tensor:
    return values.nanmean(-1)


def _shares(values: Tensor) -> Tensor:
    sums = values.sum(-1)
    return sums / sums.nansum(-1, keepdim=True)


def _variance(scores: Scores, values: Tensor, folds: Tensor | None, share: bool) -> Tensor | None:
    if folds is not None and len(folds) > 1:
        return folds.var(0) / len(folds) * scores.n
    if scores.variance is None:
        return None
    variance = scores.variance.double().reshape(values.shape)
    if not share:
        measured = ~values.isnan()
        return torch.where(measured, variance, 0.0).sum(-1) / measured.sum(-1) ** 2
    # To first order: a head adds to its layer's sum and to the total that it is divided by.
    by_sum, shares = variance.sum(-1), _shares(values)
    return (by_sum * (1 - 2 * shares) + shares**2 * by_sum.nansum()) / values.nansum() ** 2
