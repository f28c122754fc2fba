"""Several tasks' scores as one: their mean, or the mean of their ranks."""

from collections.abc import Mapping
from typing import TypeVar

import torch
from jaxtyping import Float
from scipy.stats import rankdata
from torch import Tensor

from results import HeadScores, InputError, LayerScores

AGGREGATES = ("mean", "rank-mean")
S = TypeVar("S", bound=HeadScores | LayerScores)


def aggregate(scores: Mapping[str, S], how: str = "mean") -> S:
    """Scores of several tasks as one.

    `mean`: the unweighted mean of the raw scores (Bansal et al. 2023, Eq. 10), in which tasks with large gradients
    weigh more. `rank-mean`: the mean over tasks of (rank - 1) / (N - 1) of N entries, ties averaged; 1 is the most
    important of all in every task, 0 the least.

    Args:
        scores: Scores of one measure, definition and shape, by task.
        how: One of the two.

    Returns:
        Variance over tasks, n = the number of tasks. `folds` aggregate the tasks' own fold by fold, where all have
        equally many: what resampling examples, with the tasks as they are, would change.

    Raises:
        InputError: There is no such way, no task, or the tasks' scores are not of one kind.
    """
    if how not in AGGREGATES:
        raise InputError(f"how must be one of {', '.join(AGGREGATES)}, not {how!r}")
    _check_alike(scores)
    tasks = list(scores.values())
    values = torch.stack([_scaled(task.values, how) for task in tasks])
    first = tasks[0]
    return type(first)(
        values.mean(0),
        variance=values.var(0) if len(tasks) > 1 else None,
        n=len(tasks),
        folds=_folds(tasks, how),
        measure=first.measure,
        definition=f"{how} over tasks: {first.definition}",
        provenance={"tasks": list(scores), "aggregate": how, "model": first.provenance.get("model")},
    )


def _check_alike(scores: Mapping[str, S]) -> None:
    if not scores:
        raise InputError("expected the scores of at least one task, got none")
    kinds = {
        task: (type(found).__name__, found.measure, found.definition, found.shape) for task, found in scores.items()
    }
    if len(set(kinds.values())) > 1:
        listed = "; ".join(f"{task}: {', '.join(map(str, kind))}" for task, kind in kinds.items())
        raise InputError(f"expected scores of one kind and shape, got {listed}: aggregate like with like")


def _folds(tasks: list[S], how: str) -> Float[Tensor, "fold ..."] | None:
    folds = [task.folds for task in tasks if task.folds is not None]
    if len(folds) < len(tasks) or len({len(found) for found in folds}) > 1:
        return None
    return torch.stack([torch.stack([_scaled(fold, how) for fold in found]) for found in folds]).mean(0)


def _scaled(values: Float[Tensor, "..."], how: str) -> Float[Tensor, "..."]:
    if how == "mean":
        return values
    ranks = rankdata(values.numpy().ravel(), nan_policy="omit").reshape(values.shape)
    return torch.from_numpy(ranks - 1).float() / max(values.isfinite().sum().item() - 1, 1)
