"""Accuracy, head importance and FFN importance of a model on a task."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from importance import gradient, metrics
from importance.encoding import Encoding, encode
from importance.example import Document, Example
from importance.passes import gradient_pass, without_each_ffn, without_each_head
from importance.scoring import Likelihood, forest, likelihoods
from importance.task import Task
from importance.trees import Tokens, grow
from results import Accuracy, HeadScores, InputError, LayerScores
from tracing import BatchSize, Model, Progress, map_batches, provenance

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
        model: The model; parts that are removed at present (`tracing.masked`) stay removed.
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
    documents = task.documents(shots, limit, seed)
    encoded = [_encoded(model, document.requests, task.encoding) for document in documents]
    found = likelihoods(model, encoded, batch_size=batch_size, progress=progress)
    cut = sum(any(request.cut for request in requests) for requests in encoded)
    return _judged(model, task, documents, found, cut, shots=shots, limit=limit, seed=seed)


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
    `importance.gradient.estimate` for the reductions); one forward and one backward pass, weights frozen. `oracle`: the
    mean drop of the gold log-probability, in nats, when the head is really removed, one at a time.

    Args:
        model: The model; removed parts stay removed.
        examples: Contexts with their gold continuations, as from `task.examples`.
        method: `gradient` or `oracle`.
        reduction: For gradients `token` (the published code), `example` or `signed`.
        normalise: Divide by the L2 norm of each layer (Michel et al. 2019).
        encoding: How text becomes tokens; `task.encoding` for a task's examples.
        loss_scale: What the loss is multiplied by before the backward pass; None takes 1,024 for float16, else 1.
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
    encoded = [_encoded(model, [example], encoding)[0] for example in examples]
    scale = LOSS_SCALE.get(model.dtype, 1.0) if loss_scale is None else loss_scale
    if method == "gradient":
        found = gradient_pass(model, encoded, scale, batch_size, progress)
        reads = torch.tensor([len(request.ids) - 1 for request in encoded])
        predicted = torch.tensor([len(request.ids) - request.start for request in encoded])
        result = gradient.estimate(found, reads, predicted, reduction)
    else:
        drops = _head_drops(model, encoded, batch_size, progress)
        result = gradient.estimate(gradient.Contributions(drops, drops), *_ones(len(drops)), "signed")
        reduction = "log-probability"
    settings = {
        "method": method,
        "reduction": reduction,
        "normalise": normalise,
        "encoding": encoding,
        "loss_scale": scale,
        "n_examples": len(examples),
        "cut": sum(request.cut > 0 for request in encoded),
    }
    return HeadScores(
        gradient.normalised(result.values) if normalise else result.values,
        variance=None if normalise else result.variance,
        n=len(examples),
        folds=gradient.normalised(result.folds) if normalise else result.folds,
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
        seed: Seed of the shots.
        batch_size: Documents run together.
        progress: Told of every batch that is done, in documents.

    Returns:
        The drop in accuracy for each layer; its variance is that of the paired difference over units. `extras` holds
        `log_p`, the mean drop of the gold log-probability in nats, which moves before accuracy does.

    Raises:
        InputError: As `accuracy`.

    Source: Bansal et al. 2023, Eq. 7.
    """
    documents = task.documents(shots, limit, seed)
    encoded = [_encoded(model, document.requests, task.encoding) for document in documents]
    grown = forest(model, encoded)

    def compute(chosen: list[int]) -> list[list[list[Likelihood]]]:
        runs = without_each_ffn(model, [grown[index][1] for index in chosen])
        return [[run[index] for run in runs] for index in range(len(chosen))]

    done = map_batches(compute, [len(tree.ids) for _, tree in grown], batch_size, model.device.type, progress)
    found: list[list[list[Likelihood]]] = [[[] for _ in documents] for _ in range(model.sizes.n_layers + 1)]
    for (place, _), by_run in zip(grown, done, strict=True):
        for run, values in enumerate(by_run):
            found[run][place] += values
    right = torch.tensor([_correct(task, documents, run) for run in found], dtype=torch.float32)
    gold = torch.tensor([[_gold(d, v) for d, v in zip(documents, run, strict=True)] for run in found])
    drops, drops_log_p = right[0] - right[1:], (gold[0] - gold[1:]).mean(1)
    return LayerScores(
        drops.mean(1),
        variance=drops.var(1) if drops.shape[1] > 1 else None,
        n=drops.shape[1],
        folds=torch.stack(
            [drops[:, fold :: gradient.FOLDS].mean(1) for fold in range(min(gradient.FOLDS, drops.shape[1]))]
        ),
        measure="ffn_importance",
        definition="oracle, accuracy",
        extras={"log_p": drops_log_p},
        provenance=_task_provenance(
            model, task, documents, shots=shots, limit=limit, seed=seed, accuracy=float(right[0].mean())
        ),
    )


def _encoded(model: Model, requests: Sequence[Example], encoding: Encoding) -> list[Tokens]:
    if model.tokenizer is None:
        raise InputError(f"{model.name} was loaded without a tokenizer: load_model(..., tokenizer=)")
    longest = model.sizes.context
    return [
        encode(model.tokenizer, request.context, request.continuation, longest=longest, encoding=encoding)
        for request in requests
    ]


def _judged(
    model: Model, task: Task, documents: list[Document], found: list[list[Likelihood]], cut: int, **settings: Any
) -> Accuracy:
    correct = torch.tensor(_correct(task, documents, found), dtype=torch.float32)
    n = len(correct)
    pairs = list(zip(documents, found, strict=True))
    return Accuracy(
        value=float(correct.mean()),
        stderr=float(correct.std() / math.sqrt(n)) if n > 1 else math.nan,
        n=n,
        chance=task.chance(documents),
        majority=task.majority(documents),
        correct=correct,
        choice=torch.tensor([_choice(values) for _, values in pairs]),
        gold_log_p=torch.tensor([_gold(document, values) for document, values in pairs]),
        margin=torch.tensor([_margin(document, values) for document, values in pairs]),
        cut=cut,
        provenance=_task_provenance(model, task, documents, **settings),
    )


def _task_provenance(model: Model, task: Task, documents: list[Document], **settings: Any) -> dict[str, Any]:
    return provenance(
        model,
        task=task.name,
        profile=task.profile,
        metric=task.metric,
        encoding=task.encoding,
        n_documents=len(documents),
        source=task.source,
        **settings,
    )


def _correct(task: Task, documents: list[Document], found: list[list[Likelihood]]) -> list[bool]:
    log_p = [[value.log_p for value in values] for values in found]
    greedy = [[value.greedy for value in values] for values in found]
    return task.correct(documents, log_p, greedy)


def _choice(values: list[Likelihood]) -> int:
    return metrics.chosen([value.log_p for value in values]) if len(values) > 1 else -1


def _gold(document: Document, values: list[Likelihood]) -> float:
    return max(values[choice].log_p for choice in document.gold)


def _margin(document: Document, values: list[Likelihood]) -> float:
    wrong = [value.log_p for choice, value in enumerate(values) if choice not in document.gold]
    return _gold(document, values) - max(wrong) if wrong else math.nan


def _head_drops(
    model: Model, requests: Sequence[Tokens], batch_size: BatchSize, progress: Progress | None
) -> Float[Tensor, "example layer head"]:
    """How much the log-probability of each example falls without each head."""
    trees = [grow([request]) for request in requests]

    def compute(chosen: list[int]) -> list[Tensor]:
        return list(without_each_head(model, [trees[index] for index in chosen]))

    lengths = [len(tree.ids) for tree in trees]
    return torch.stack(map_batches(compute, lengths, batch_size, model.device.type, progress))


def _ones(n: int) -> tuple[Tensor, Tensor]:
    return torch.ones(n, dtype=torch.long), torch.ones(n, dtype=torch.long)
