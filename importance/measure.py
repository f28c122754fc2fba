"""Accuracy, head importance and FFN importance of a model on a task."""

import math
from collections.abc import Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from headcount.importance.ablation.ablated import Reference, ablation_record, ablation_title, task_replacement
from headcount.importance.attribution.ablation_path import Part
from headcount.importance.attribution.estimates import estimated
from headcount.importance.attribution.gradients import FOLDS, normalised_by_layer
from headcount.importance.attribution.leave_one_out import without_each_ffn
from headcount.importance.attribution.routing import routed_shares
from headcount.importance.attribution.settings import Attribution, one_kind
from headcount.importance.documents import Example
from headcount.importance.evaluation import EncodedTask, answers_of, bos_record, encode_examples, encode_task
from headcount.importance.likelihoods.encoding import Encoding
from headcount.importance.likelihoods.log_likelihoods import LogLikelihood, log_likelihoods
from headcount.importance.likelihoods.tree_passes import document_trees
from headcount.importance.tasks.task import Task
from headcount.results import Accuracy, ExpertScores, HeadScores, InputError, LayerScores
from headcount.results.internal import checks
from headcount.tracing import BatchSize, Model, Progress, provenance
from headcount.tracing.internal import AblationKind, Prepared, Replacement, over_all_layers, run_batches

RankSplit = Literal["train"] | None

LOSS_SCALE = {torch.float16: 1024.0}
"""Factor of the loss before the backward pass: float16 has no numbers below 6e-8; bfloat16 has."""


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
    """Measure a model's accuracy on the documents of a task.

    Args:
        model: The model; parts that are removed at present (`masked`) stay removed.
        task: From `load_task`.
        shots: Solved examples in front of each document.
        limit: Documents at most.
        seed: Seed of the shots.
        batch_size: Documents run together; "auto" fits it to the machine.
        progress: Called after each batch with the number of documents in it.

    Returns:
        Accuracy by the task's metric with its standard error, the accuracy of guessing and of the best constant answer,
        and for each document the choice, the gold log-probability and the margin.

    Raises:
        InputError: A number is out of range, there are too few rows, or a continuation has no tokens.
    """
    encoded = encode_task(model, task, shots, limit, seed)
    answers = answers_of(encoded, log_likelihoods(model, encoded.requests, batch_size=batch_size, progress=progress))
    n = len(answers.correct)
    return Accuracy(
        value=float(answers.correct.mean()),
        stderr=float(answers.correct.std() / math.sqrt(n)) if n > 1 else math.nan,
        n=n,
        chance=encoded.chance,
        majority=encoded.majority,
        cut=encoded.cut,
        merged=len(encoded.merged),
        first_merged=min(encoded.merged, default=-1),
        provenance=encoded.provenance(model),
        **answers._asdict(),
    )


def head_importance(
    model: Model,
    examples: Sequence[Example],
    method: str = "gradient",
    reduction: str = "example",
    *,
    baseline: AblationKind = "zero",
    kind: AblationKind | None = None,
    reference: Reference = None,
    seed: int = 0,
    steps: int = 1,
    share: float = 0.2,
    normalise: bool = False,
    encoding: Encoding = "joint",
    loss_scale: float | None = None,
    batch_size: BatchSize = "auto",
    progress: Progress | None = None,
) -> HeadScores:
    """Score every head by how much a model's predictions need it.

    * `gradient`: the first-order change of the loss on the gold continuations as a head is ablated (see
      `headcount.importance.attribution.gradients.estimate_importance` for the reductions); one forward and one backward
      pass, weights frozen. Several `steps` give integrated gradients, layer by layer (see `gradient_contributions`).
    * `oracle`: the mean drop of the gold log-probability, in nats, when the head is really ablated, one at a time.
    * `verified`: the oracle's drop for the `share` of heads that is highest by `example`, the estimate `drop` for the
      rest. `extras["verified"]` is 1 for the heads that were ablated.

    The reduction `drop` has the sign and unit of the oracle; all three of them come with the mean size of the drop over
    examples, `extras["absolute_drop"]`. `signed` is the negative of `drop`, and of the loss averaged over the tokens of
    a continuation. `token` and `example` are sizes: they say that a head matters, not in which direction.

    Args:
        model: The model; removed parts stay removed.
        examples: Contexts with their gold continuations, as from `task.examples`.
        method: `gradient`, `oracle` or `verified`.
        reduction: For gradients `example`, `token` (the published code), `drop` or `signed`.
        baseline: The replacement r of a head's output z by ablation. `zero`; `mean`: the mean of z over the positions
            of all reference examples; `resample`: z of another reference example, at the same position; `patch`: z of
            the example with its shots' answers shuffled (`Example.counterfactual`).
        kind: The same as `baseline`, by the word that `ablated` has for it.
        reference: Reference examples, as for `ablated`; None takes `examples`.
        seed: Seed of `resample`.
        steps: For gradients, the number of points r + α(z - r), α = 1/steps, ..., 1, at which they are taken. With more
            than one, each costs a forward and a backward pass from every layer on.
        share: For `verified`, the share of heads that is ablated: floor(share · N) of N, at least one.
        normalise: Divide by the L2 norm of each layer (Michel et al. 2019).
        encoding: The way in which text becomes tokens; `task.encoding` for a task's examples.
        loss_scale: Factor of the loss before the backward pass; None takes 1,024 for float16, else 1. Examples whose
            gradients become infinite are run again with less.
        batch_size: Examples run together; "auto" fits it to the machine. It does not change the scores.
        progress: Called after each batch with the number of examples in it.

    Returns:
        Scores with variance over examples and `folds`, ten interleaved subsets of the examples. Normalised scores have
        folds, but no variance. Means are taken as exact: their error is not part of the variance.

    Raises:
        InputError: An argument is unknown or out of range, there is no example, a continuation has no tokens, or an
            example has no counterfactual for `patch`.

    Source: Bansal et al. 2023, Eq. 7 (oracle) and 8 (gradient); Michel et al. 2019. Sundararajan et al. 2017, Eq. 3
    (steps).
    """
    settings = Attribution(method, reduction, one_kind(baseline, kind), steps, share, seed)
    options = (normalise, encoding, loss_scale, batch_size, progress)
    return HeadScores(measure="head_importance", **_importance("head", model, examples, settings, reference, *options))


def expert_importance(
    model: Model,
    examples: Sequence[Example],
    method: str = "gradient",
    reduction: str = "example",
    *,
    normalise: bool = False,
    encoding: Encoding = "joint",
    loss_scale: float | None = None,
    batch_size: BatchSize = "auto",
    progress: Progress | None = None,
) -> ExpertScores:
    """Score every expert of a mixture by how much a model's predictions need it.

    As `head_importance`, with the weight that the router gives an expert in the place of a head's output: `gradient` is
    the first-order change of the loss as that weight goes to zero for all tokens, the other experts' weights as they
    are; `oracle` removes one expert at a time (`masked(model, experts=...)`).

    Args:
        model: A mixture of experts; removed parts stay removed.
        examples: As for `head_importance`.
        method: `gradient` or `oracle`.
        reduction: For gradients `token`, `example`, `drop` or `signed`.
        normalise: Divide by the L2 norm of each layer.
        encoding: As for `head_importance`.
        loss_scale: As for `head_importance`.
        batch_size: Examples run together; "auto" fits it to the machine.
        progress: Called after each batch with the number of examples in it.

    Returns:
        Scores [layer, expert]; NaN in layers that are no mixture. `extras` holds `routed`, the share of the examples'
        tokens that the router sends to the expert.

    Raises:
        InputError: As `head_importance`; or the model has no mixture of experts.

    Source: the same first-order change as for heads (Michel et al. 2019), of routing weights.
    """
    if not model.anatomy.layers_with_experts():
        raise InputError(f"{model.name} has no mixture of experts, or one whose experts cannot be told apart")
    if method == "verified":
        raise InputError("experts: method must be gradient or oracle, not 'verified'")
    options = (normalise, encoding, loss_scale, batch_size, progress)
    fields = _importance("expert", model, examples, Attribution(method, reduction), None, *options)
    fields["extras"]["routed"] = routed_shares(model, encode_examples(model, examples, encoding), batch_size)
    return ExpertScores(measure="expert_importance", **fields)


def _importance(
    part: Part,
    model: Model,
    examples: Sequence[Example],
    settings: Attribution,
    reference: Reference,
    normalise: bool,
    encoding: Encoding,
    loss_scale: float | None,
    batch_size: BatchSize,
    progress: Progress | None,
) -> dict[str, Any]:
    """Return the fields of the scores of heads or experts."""
    checks.check_one_of("encoding", encoding, get_args(Encoding))
    if not examples:
        raise InputError(f"{part} importance needs at least one example")
    requests = encode_examples(model, examples, encoding)
    scale = LOSS_SCALE.get(model.dtype, 1.0) if loss_scale is None else loss_scale
    replacement = settings.replacement(model, examples, reference, encoding, batch_size)
    estimate = estimated(model, requests, part, settings, replacement, scale, batch_size, progress)
    record = {
        **settings.provenance(replacement),
        "normalise": normalise,
        "encoding": encoding,
        "loss_scale": scale,
        "n_examples": len(examples),
        "cut": sum(request.cut > 0 for request in requests),
        "merged": sum(request.merged for request in requests),
        **bos_record(model, requests),
    }
    return {
        "values": normalised_by_layer(estimate.values) if normalise else estimate.values,
        "variance": None if normalise else estimate.variance,
        "n": len(examples),
        "folds": normalised_by_layer(estimate.folds) if normalise else estimate.folds,
        "extras": dict(estimate.extras),
        "definition": settings.definition,
        "provenance": provenance(model, **record),
    }


def ffn_importance(
    model: Model,
    task: Task,
    shots: int = 0,
    limit: int | None = None,
    *,
    method: str = "oracle",
    reduction: str = "drop",
    baseline: AblationKind = "zero",
    kind: AblationKind | None = None,
    reference: Reference = None,
    steps: int = 1,
    share: float = 0.2,
    rank_split: RankSplit = None,
    seed: int = 0,
    batch_size: BatchSize = "auto",
    progress: Progress | None = None,
) -> LayerScores:
    """Score each layer's feed-forward network by how much a task needs it.

    * `oracle`: the drop of accuracy without the network, one removal at a time, IS_l = P(model) - P(model without FFN
      l), P = accuracy. The layers below the removed network are computed once.
    * `gradient`: the first-order change of the loss on each document's gold continuation as the network is
      ablated, one forward and one backward pass for all layers. The reduction `drop` estimates the oracle's
      `extras["log_p"]`, the drop of the gold log-probability in nats; accuracy has no gradient.
    * `verified`: that drop for the `share` of networks that is highest by `example`, the estimate for the rest.

    Args:
        model: The model; removed parts stay removed.
        task: From `load_task`.
        shots: Solved examples in front of each document.
        limit: Documents at most.
        method: `oracle`, `gradient` or `verified`.
        reduction: For gradients, as in `head_importance`.
        baseline: The replacement of a network's output, as in `head_importance`.
        kind: The same as `baseline`.
        reference: Reference examples, as for `ablated`; None takes `task.reference(shots)`, and for `patch` the
            documents themselves.
        steps: For gradients, as in `head_importance`.
        share: For `verified`, the share of networks that is ablated.
        rank_split: None takes the documents that accuracy is measured on, as the published code does; `"train"` takes
            the pool that shots come from, so that a ranking is not tested on the documents that it is from.
        seed: Seed of the shots, and of `resample`.
        batch_size: Documents run together.
        progress: Called after each batch with the number of documents in it.

    Returns:
        Of the oracle, the drop in accuracy for each layer; its variance is that of the paired difference over units.
        `extras` holds `log_p`, the mean drop of the gold log-probability in nats, which moves before accuracy does. Of
        gradients, the mean over documents with its variance; of several right continuations they take the first.

    Raises:
        InputError: As `accuracy` and `head_importance`; or the split is unknown, or empty.

    Source: Bansal et al. 2023, Eq. 7 (oracle); Molchanov et al. 2016 (gradient).
    """
    if rank_split not in (None, "train"):
        raise InputError(f"rank_split must be None or 'train', not {rank_split!r}")
    settings = Attribution(method, reduction, one_kind(baseline, kind), steps, share, seed)
    encoded = encode_task(model, task.of_pool() if rank_split else task, shots, limit, seed)
    replacement = task_replacement(model, encoded, settings.kind, reference, batch_size)
    if method == "oracle":
        return _ffn_oracle(model, encoded, replacement, rank_split, batch_size, progress)
    requests = [of[document.gold[0]] for document, of in zip(encoded.documents, encoded.requests, strict=True)]
    scale = LOSS_SCALE.get(model.dtype, 1.0)
    estimate = estimated(model, requests, "ffn", settings, replacement, scale, batch_size, progress)
    record = {**settings.provenance(replacement), "loss_scale": scale, "rank_split": rank_split}
    return LayerScores(
        estimate.values[:, 0],
        variance=None if estimate.variance is None else estimate.variance[:, 0],
        n=len(requests),
        folds=estimate.folds[..., 0],
        measure="ffn_importance",
        definition=settings.definition,
        extras={name: values[:, 0] for name, values in estimate.extras.items()},
        provenance=encoded.provenance(model, **record),
    )


def _ffn_oracle(
    model: Model,
    encoded: EncodedTask,
    replacement: Replacement | None,
    rank_split: RankSplit,
    batch_size: BatchSize,
    progress: Progress | None,
) -> LayerScores:
    """Return the drop of accuracy without each network."""
    runs = _runs_without_ffns(model, encoded, batch_size, progress, replacement)
    whole, *without = [answers_of(encoded, run) for run in runs]
    drops = torch.stack([whole.correct - answers.correct for answers in without])
    log_p = torch.stack([whole.gold_log_p - answers.gold_log_p for answers in without])
    layers, n = model.anatomy.layers_with_ffns(), drops.shape[1]
    drops, log_p = (over_all_layers(model, values, 0, layers) for values in (drops, log_p))
    return LayerScores(
        drops.mean(1),
        variance=drops.var(1) if n > 1 else None,
        n=n,
        folds=torch.stack([drops[:, fold::FOLDS].mean(1) for fold in range(min(FOLDS, n))]),
        measure="ffn_importance",
        definition=f"oracle, accuracy{ablation_title(replacement)}",
        extras={"log_p": log_p.mean(1)},
        provenance=encoded.provenance(
            model,
            accuracy=_json_number(whole.correct.mean()),
            rank_split=rank_split,
            **ablation_record(replacement),
        ),
    )


def _runs_without_ffns(
    model: Model,
    encoded: EncodedTask,
    batch_size: BatchSize,
    progress: Progress | None,
    replacement: Replacement | None,
) -> list[list[list[LogLikelihood]]]:
    """Return the log-likelihoods of every document with all parts, then without each network."""
    trees = document_trees(model, encoded.requests, apart=replacement is not None and replacement.rows is not None)

    def prepare(batch: list[int]) -> Prepared[list[list[LogLikelihood]]]:
        return without_each_ffn(model, [trees[index][1] for index in batch], replacement)

    by_tree = run_batches(model, prepare, [len(tree.ids) for _, tree in trees], batch_size, progress)
    n_runs = 1 + len(model.anatomy.layers_with_ffns())
    runs: list[list[list[LogLikelihood]]] = [[[] for _ in encoded.documents] for _ in range(n_runs)]
    for (number, _), by_run in zip(trees, by_tree, strict=True):
        for run, values in zip(runs, by_run, strict=True):
            run[number] += values
    return runs


def _json_number(number: Tensor) -> float | None:
    """Return a number as JSON can hold it, which has no NaN."""
    return None if number.isnan() else float(number)
