"""One score for several tasks: the mean of their scores, or of their ranks."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, TypeVar, get_args

import numpy as np
import torch
from torch import Tensor

from headcount.results import ExpertScores, HeadScores, InputError, LayerScores
from headcount.stats import ranks
from headcount.stats.aligned import Scores, check_shapes

How = Literal["mean", "rank-mean"]
Kind = TypeVar("Kind", bound=HeadScores | LayerScores | ExpertScores)


def aggregate(scores: Mapping[str, Kind] | Sequence[Kind], how: How = "mean") -> Kind:
    """Return one score for several tasks, all of which count the same.

    * `mean`: the mean of the raw scores (Eq. 10); tasks with large gradients dominate it;
    * `rank-mean`: the mean of (rank - 1) / (N - 1), ties averaged: 0 for the lowest in every task, 1 for the highest.

    Args:
        scores: By task; a sequence is named by the tasks in its provenance, else by position.
        how: `"mean"` or `"rank-mean"`.

    Returns:
        Scores with the unbiased variance over tasks (None for one task), and the number of tasks as `n`. Fold k is the
        aggregate of every task's fold k, so it resamples examples, not tasks; None unless all tasks have equally many.
        A head that is NaN in any task is NaN. `extras` has the means of the drop of the gold log-probability and of
        the share of routed tokens, if every task has them. Provenance has what is common to all, and lists the tasks.

    Raises:
        InputError: There are no scores, or their shapes or measures differ, or `how` is unknown.

    Source: Bansal et al. 2023, Eq. 10.
    """
    if how not in get_args(How):
        raise InputError(f"how must be one of {', '.join(get_args(How))}, not {how!r}")
    by_task = scores if isinstance(scores, Mapping) else _by_task(scores)
    check_shapes(by_task)
    _check_measures(by_task)
    tasks = list(by_task.values())
    scaled = torch.stack([_scaled(task.values, how) for task in tasks])
    definitions = "; ".join(sorted({task.definition for task in tasks}))
    return type(tasks[0])(
        scaled.mean(0),
        variance=scaled.var(0) if len(tasks) > 1 else None,
        n=len(tasks),
        folds=_common_folds(tasks, how),
        extras=_common_extras(tasks),
        measure=tasks[0].measure,
        definition=f"{how} over tasks: {definitions}",
        provenance=_provenance(by_task, how),
    )


def _scaled(values: Tensor, how: How) -> Tensor:
    """Return the values as they enter the mean; NaN stays NaN."""
    if how == "mean":
        return values.double()
    flat = values.double().flatten().numpy()
    measured = ~np.isnan(flat)
    places = np.full(flat.shape, np.nan)
    n = int(measured.sum())
    places[measured] = ranks.centred_ranks(flat[measured]) / max(n - 1, 1) + 0.5
    return torch.from_numpy(places).view(values.shape)


def _common_extras(tasks: Sequence[Scores]) -> dict[str, Tensor]:
    """Return the means of extras that every task has.

    These are the drop of the gold log-probability, which decides between equal scores, and the share of routed tokens.
    """
    common = [name for name in ("log_p", "routed") if all(name in task.extras for task in tasks)]
    return {name: torch.stack([task.extras[name] for task in tasks]).double().mean(0) for name in common}


def _common_folds(tasks: Sequence[Scores], how: How) -> Tensor | None:
    folds = [task.folds for task in tasks if task.folds is not None]
    if len(folds) < len(tasks) or len({len(of_task) for of_task in folds}) > 1:
        return None
    return torch.stack([torch.stack([_scaled(fold, how) for fold in of_task]) for of_task in folds]).mean(0)


def _by_task(scores: Iterable[Kind]) -> dict[str, Kind]:
    """Return scores by their task, or by position where that is not known or not unique."""
    listed = list(scores)
    tasks = [of_task.provenance.get("task") for of_task in listed]
    known = all(isinstance(task, str) for task in tasks) and len(set(tasks)) == len(tasks)
    return {str(tasks[index] if known else index): of_task for index, of_task in enumerate(listed)}


def _check_measures(scores: Mapping[str, Scores]) -> None:
    measures = {name: of_task.measure for name, of_task in scores.items()}
    if len(set(measures.values())) > 1:
        listed = ", ".join(f"{name}: {measure or 'unnamed'}" for name, measure in measures.items())
        raise InputError(f"aggregate expects scores of one measure, got {listed}")


def _provenance(scores: Mapping[str, Scores], how: How) -> dict[str, Any]:
    first, *rest = (of_task.provenance for of_task in scores.values())
    common = {
        key: value
        for key, value in first.items()
        if all(key in provenance and provenance[key] == value for provenance in rest)
    }
    tasks = [{"name": name, "definition": of_task.definition, "n": of_task.n} for name, of_task in scores.items()]
    ties = {"ties": "log_p"} if all("log_p" in of_task.extras for of_task in scores.values()) else {}
    return common | ties | {"aggregate": how, "tasks": tasks}
