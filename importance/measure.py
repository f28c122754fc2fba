"""Accuracy, head importance and FFN importance of a model on a task."""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from headcount.importance.attribution import gradients
from headcount.importance.attribution.passes import gradient_pass, without_each_ffn, without_each_head
from headcount.importance.documents import Example
from headcount.importance.evaluation import Asked, ask, encoded, judge
from headcount.importance.likelihoods.encoding import Encoding
from headcount.importance.likelihoods.prefix_tree import Tokens, grow
from headcount.importance.likelihoods.score import Likelihood, forest, likelihoods
from headcount.importance.tasks.task import Task
from headcount.results import Accuracy, HeadScores, InputError, LayerScores
from headcount.tracing import BatchSize, Model, Progress, provenance
from headcount.tracing.internal import Prepared, run_batches

RankSplit = Literal["train"] | None

LOSS_SCALE = {torch.float16: 1024.0}
"""What the loss is multiplied by before the backward pass: float16 has no numbers below 6e-8; bfloat16 has."""


def accuracy(
    model: Model,
    task: Task,
    shots: int = 0,
    limit: int | None = None,
    *,
    seed: int = 0,
    batch_size: BatchSize = "auto",
    progress: Progress | None = None,
) -> Accuracy:
    """How many documents of a task a model gets right.

    Args:
        model: The model; parts that are removed at present (`masked`) stay removed.
        task: From `load_task`.
        shots: Solved examples in front of each document.
        limit: Documents at most.
        seed: Seed of the shots.
        batch_size: Documents run together; "auto" fits it to the machine.
        progress: Told of every batch that is done, in documents.

    Returns:
        Accuracy by the task's metric with its standard error, what chance and the best constant answer would give, and
        for each document the choice, the gold log-probability and the margin.

    Raises:
        InputError: A number is out of range, there are too few rows, or a continuation has no tokens.
    """
    asked = ask(model, task, shots, limit, seed)
    found = judge(asked, likelihoods(model, asked.tokens, batch_size=batch_size, progress=progress))
    n = len(found.correct)
    return Accuracy(
        value=float(found.correct.mean()),
        stderr=float(found.correct.std() / math.sqrt(n)) if n > 1 else math.nan,
        n=n,
        chance=task.chance(asked.documents),
        majority=task.majority(asked.documents),
        cut=asked.cut,
        provenance=asked.provenance(model),
        **found._asdict(),
    )


def head_importance(
    model: Model,
    examples: Sequence[Example],
    method: str = "gradient",
    reduction: str = "token",
    *,
    normalise: bool = False,
    encoding: Encoding = "joint",
    loss_scale: float | None = None,
    batch_size: BatchSize = "auto",
    progress: Progress | None = None,
) -> HeadScores:
    """How much a model's predictions need each head.

    `gradient`: the first-order change of the loss on the gold continuations as a head's output goes to zero (see
    `headcount.importance.attribution.gradients.estimate` for the reductions); one forward and one backward pass,
    weights frozen. `oracle`: the mean drop of the gold log-probability, in nats, when the head is really removed, one
    at a time.

    Args:
        model: The model; removed parts stay removed.
        examples: Contexts with their gold continuations, as from `task.examples`.
        method: `gradient` or `oracle`.
        reduction: For gradients `token` (the published code), `example` or `signed`.
        normalise: Divide by the L2 norm of each layer (Michel et al. 2019).
        encoding: How text becomes tokens; `task.encoding` for a task's examples.
        loss_scale: What the loss is multiplied by before the backward pass; None takes 1,024 for float16, else 1.
            Examples whose gradients become infinite are run again with less.
        batch_size: Examples run together; "auto" fits it to the machine. It does not change the scores.
        progress: Told of every batch that is done, in examples.

    Returns:
        Scores with variance over examples and `folds`, ten interleaved subsets of the examples. Normalised scores have
        folds, but no variance.

    Raises:
        InputError: An argument is unknown, there is no example, or a continuation has no tokens.

    Source: Bansal et al. 2023, Eq. 7 (oracle) and 8 (gradient); Michel et al. 2019.
    """
    if method not in ("gradient", "oracle"):
        raise InputError(f"method must be gradient or oracle, not {method!r}")
    if not examples:
        raise InputError("head importance needs at least one example")
    requests = encoded(model, examples, encoding)
    scale = LOSS_SCALE.get(model.dtype, 1.0) if loss_scale is None else loss_scale
    if method == "gradient":
        found = gradient_pass(model, requests, scale, batch_size, progress)
        reads = torch.tensor([len(request.ids) - 1 for request in requests])
        predicted = torch.tensor([len(request.ids) - request.start for request in requests])
        result = gradients.estimate(found, reads, predicted, reduction)
    else:
        drops = _head_drops(model, requests, batch_size, progress)
        result = gradients.estimate(gradients.Contributions(drops, drops), *_ones(len(drops)), "signed")
        reduction = "log-probability"
    settings = {
        "method": method,
        "reduction": reduction,
        "normalise": normalise,
        "encoding": encoding,
        "loss_scale": scale,
        "n_examples": len(examples),
        "cut": sum(request.cut > 0 for request in requests),
    }
    return HeadScores(
        gradients.normalised(result.values) if normalise else result.values,
        variance=None if normalise else result.variance,
        n=len(examples),
        folds=gradients.normalised(result.folds) if normalise else result.folds,
        measure="head_importance",
        definition=f"{method}, {reduction}",
        provenance=provenance(model, **settings),
    )


def ffn_importance(
    model: Model,
    task: Task,
    shots: int = 0,
    limit: int | None = None,
    *,
    rank_split: RankSplit = None,
    seed: int = 0,
    batch_size: BatchSize = "auto",
    progress: Progress | None = None,
) -> LayerScores:
    """How much accuracy a task loses without each layer's feed-forward network, one removal at a time.

    IS_l = P(model) - P(model without FFN l), P = accuracy. What lies below the removed network is computed once.

    Args:
        model: The model; removed parts stay removed.
        task: From `load_task`.
        shots: Solved examples in front of each document.
        limit: Documents at most.
        rank_split: None takes the documents that accuracy is measured on, as the published code does; `"train"` takes
            the pool that shots come from, so that a ranking is not tried on the documents that it was made on.
        seed: Seed of the shots.
        batch_size: Documents run together.
        progress: Told of every batch that is done, in documents.

    Returns:
        The drop in accuracy for each layer; its variance is that of the paired difference over units. `extras` holds
        `log_p`, the mean drop of the gold log-probability in nats, which moves before accuracy does.

    Raises:
        InputError: As `accuracy`; or the split is unknown, or empty.

    Source: Bansal et al. 2023, Eq. 7.
    """
    if rank_split not in (None, "train"):
        raise InputError(f"rank_split must be None or 'train', not {rank_split!r}")
    asked = ask(model, task.of_pool() if rank_split else task, shots, limit, seed)
    whole, *without = [judge(asked, run) for run in _runs_without_ffns(model, asked, batch_size, progress)]
    drops = torch.stack([whole.correct - run.correct for run in without])
    return LayerScores(
        drops.mean(1),
        variance=drops.var(1) if drops.shape[1] > 1 else None,
        n=drops.shape[1],
        folds=torch.stack(
            [drops[:, fold :: gradients.FOLDS].mean(1) for fold in range(min(gradients.FOLDS, drops.shape[1]))]
        ),
        measure="ffn_importance",
        definition="oracle, accuracy",
        extras={"log_p": torch.stack([(whole.gold_log_p - run.gold_log_p).mean() for run in without])},
        provenance=asked.provenance(model, accuracy=_json(whole.correct.mean()), rank_split=rank_split),
    )


def _runs_without_ffns(
    model: Model, asked: Asked, batch_size: BatchSize, progress: Progress | None
) -> list[list[list[Likelihood]]]:
    """The likelihoods of every document with all parts, then without the network of layer 0, 1, ..."""
    grown = forest(model, asked.tokens)

    def prepare(chosen: list[int]) -> Prepared[list[list[Likelihood]]]:
        return without_each_ffn(model, [grown[index][1] for index in chosen])

    done = run_batches(model, prepare, [len(tree.ids) for _, tree in grown], batch_size, progress)
    found: list[list[list[Likelihood]]] = [[[] for _ in asked.documents] for _ in range(model.sizes.n_layers + 1)]
    for (place, _), by_run in zip(grown, done, strict=True):
        for run, values in enumerate(by_run):
            found[run][place] += values
    return found


def _head_drops(
    model: Model, requests: Sequence[Tokens], batch_size: BatchSize, progress: Progress | None
) -> Float[Tensor, "example layer head"]:
    """How much the log-probability of each example falls without each head."""
    trees = [grow([request]) for request in requests]

    def prepare(chosen: list[int]) -> Prepared[Tensor]:
        return without_each_head(model, [trees[index] for index in chosen])

    return torch.stack(run_batches(model, prepare, [len(tree.ids) for tree in trees], batch_size, progress))


def _json(number: Tensor) -> float | None:
    """A number as JSON has it, which has no NaN."""
    return None if number.isnan() else float(number)


def _ones(n: int) -> tuple[Tensor, Tensor]:
    return torch.ones(n, dtype=torch.long), torch.ones(n, dtype=torch.long)
