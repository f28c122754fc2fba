"""Many scores made into one: over tasks, and over the heads of a layer."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, TypeVar, get_args

import numpy as np
import torch
from torch import Tensor

from headcount.results import HeadScores, InputError, LayerScores
from headcount.stats import ranks
from headcount.stats.aligned import Scores, check_shapes
from headcount.stats.capacity import check_share

How = Literal["mean", "rank-mean"]
Kind = TypeVar("Kind", bound=HeadScores | LayerScores)


def aggregate(scores: Mapping[str, Kind] | Sequence[Kind], how: How = "mean") -> Kind:
    """One score for several tasks, all of which count the same.

    * `mean`: the mean of the raw scores (Eq. 10); tasks with large gradients dominate it;
    * `rank-mean`: the mean of (rank - 1) / (N - 1), ties averaged: 0 for the lowest in every task, 1 for the highest.

    Args:
        scores: By task; a sequence is named by the tasks in its provenance, else by position.
        how: `"mean"` or `"rank-mean"`.

    Returns:
        Scores with the unbiased variance over tasks (None for one task), and the number of tasks as `n`. Fold k is the
        aggregate of every task's fold k, so it resamples examples, not tasks; None unless all tasks have equally many.
        A head that is NaN in any task is NaN. Provenance keeps what is common to all, and lists the tasks.

    Raises:
        InputError: There are no scores, or their shapes or measures differ, or `how` is unknown.

    Source: Bansal et al. 2023, Eq. 10.
    """
    if how not in get_args(How):
        raise InputError(f"how must be one of {', '.join(get_args(How))}, not {how!r}")
    named = scores if isinstance(scores, Mapping) else _named(scores)
    check_shapes(named)
    _check_measures(named)
    each = list(named.values())
    scaled = torch.stack([_scaled(one.values, how) for one in each])
    definitions = "; ".join(sorted({one.definition for one in each}))
    return type(each[0])(
        scaled.mean(0),
        variance=scaled.var(0) if len(each) > 1 else None,
        n=len(each),
        folds=_common_folds(each, how),
        measure=each[0].measure,
        definition=f"{how} over tasks: {definitions}",
        provenance=_provenance(named, how),
    )


def by_layer(scores: Scores, *, share: bool = False) -> LayerScores:
    """Where scores sit by depth: the mean over the heads of each layer, or each layer's share of the sum.

    Args:
        scores: Scores of heads; those of layers are returned as they are.
        share: Divide each layer's sum by that of all layers. Scores must be at least 0.

    Returns:
        One score a layer; heads of NaN are left out of a mean. `variance / n` is the square of its standard error over
        examples, taken from the folds: their variance divided by how many there are. Without folds it comes from the
        variances, as if heads were independent, which makes it too small where heads move together.

    Raises:
        InputError: `share` of scores that have NaN or a negative entry, or are all 0.
    """
    if share:
        check_share(scores.measure or "scores", scores.values.numpy())
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
    """Where scores sit by relative depth, so that models of different numbers of layers can be compared.

    Layer l of L lies at depth (l + 1/2) / L; between layers, `by_layer`'s means are interpolated linearly.

    Args:
        scores: Scores of heads, or of layers.
        n: At how many depths, (k + 1/2) / n.

    Returns:
        A score a depth, with folds if the scores have them, and no variance. A layer of NaN is passed over.

    Raises:
        InputError: `n` is no whole number of 1 or more, or no layer has a score.
    """
    means = by_layer(scores)
    if type(n) is not int or n < 1 or means.values.isnan().all():
        found = f"{n} depths, {int((~means.values.isnan()).sum())} layers with a score"
        raise InputError(f"expected 1 depth or more, and a layer or more that has a score; got {found}")
    layers, wanted = (np.arange(count) / count + 0.5 / count for count in (len(means.values), n))

    def interpolated(values: Tensor) -> Tensor:
        known = ~values.isnan().numpy()
        return torch.from_numpy(np.interp(wanted, layers[known], values.double().numpy()[known]))

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
    return sums / sums.sum(-1, keepdim=True)


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
    return (by_sum * (1 - 2 * shares) + shares**2 * by_sum.sum()) / values.sum() ** 2


def _scaled(values: Tensor, how: How) -> Tensor:
    """The values as they enter the mean, along all axes but a first one of folds; NaN stays NaN."""
    if how == "mean":
        return values.double()
    flat = values.double().flatten().numpy()
    measured = ~np.isnan(flat)
    places = np.full(flat.shape, np.nan)
    n = int(measured.sum())
    places[measured] = ranks.centred_ranks(flat[measured]) / max(n - 1, 1) + 0.5
    return torch.from_numpy(places).view(values.shape)


def _common_folds(scores: Sequence[Scores], how: How) -> Tensor | None:
    folds = [one.folds for one in scores if one.folds is not None]
    if len(folds) < len(scores) or len({len(each) for each in folds}) > 1:
        return None
    return torch.stack([torch.stack([_scaled(fold, how) for fold in each]) for each in folds]).mean(0)


def _named(scores: Iterable[Kind]) -> dict[str, Kind]:
    """Scores by their task, or by position where that is not known or not unique."""
    listed = list(scores)
    tasks = [one.provenance.get("task") for one in listed]
    known = all(isinstance(task, str) for task in tasks) and len(set(tasks)) == len(tasks)
    return {str(tasks[place] if known else place): one for place, one in enumerate(listed)}


def _check_measures(scores: Mapping[str, Scores]) -> None:
    measures = {name: one.measure for name, one in scores.items()}
    if len(set(measures.values())) > 1:
        listed = ", ".join(f"{name}: {measure or 'unnamed'}" for name, measure in measures.items())
        raise InputError(f"aggregate expects scores of one measure, got {listed}")


def _provenance(scores: Mapping[str, Scores], how: How) -> dict[str, Any]:
    first, *others = (one.provenance for one in scores.values())
    common = {key: value for key, value in first.items() if all(key in o and o[key] == value for o in others)}
    tasks = [{"name": name, "definition": one.definition, "n": one.n} for name, one in scores.items()]
    return common | {"aggregate": how, "tasks": tasks}
