"""Importance from gradients, by ablation, or by both: estimates of the drop of the gold log-probability."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from headcount.importance.attribution.ablation_path import AblationPath, Part, n_parts, places_of
from headcount.importance.attribution.gradient_passes import gradient_contributions
from headcount.importance.attribution.gradients import (
    Estimate,
    estimate_drops,
    estimate_importance,
    first_order_drops,
    highest_share,
)
from headcount.importance.attribution.leave_one_out import Sets, without_sets
from headcount.importance.attribution.settings import Attribution
from headcount.importance.likelihoods.encoding import EncodedRequest
from headcount.importance.likelihoods.prefix_tree import build_tree
from headcount.tracing import BatchSize, Model, Progress
from headcount.tracing.internal import Prepared, Replacement, over_all_layers, run_batches


def estimated(
    model: Model,
    requests: Sequence[EncodedRequest],
    part: Part,
    settings: Attribution,
    replacement: Replacement | None,
    loss_scale: float,
    batch_size: BatchSize,
    progress: Progress | None,
) -> Estimate:
    """Return importance by the method of the settings."""
    path = AblationPath(part, settings.steps, replacement)
    if settings.method == "oracle":
        return oracle_estimate(model, requests, path, batch_size, progress)
    if settings.method == "verified":
        return verified_estimate(model, requests, path, settings.share, loss_scale, batch_size, progress)
    return gradient_estimate(model, requests, path, settings.reduction, loss_scale, batch_size, progress)


def gradient_estimate(
    model: Model,
    requests: Sequence[EncodedRequest],
    path: AblationPath,
    reduction: str,
    loss_scale: float,
    batch_size: BatchSize,
    progress: Progress | None,
) -> Estimate:
    """Return importance as the first-order change of the loss."""
    contributions = gradient_contributions(model, requests, loss_scale, batch_size, progress, path)
    read = torch.tensor([len(request.ids) - 1 for request in requests])
    return estimate_importance(contributions, read, _predicted(requests), reduction)


def oracle_estimate(
    model: Model,
    requests: Sequence[EncodedRequest],
    path: AblationPath,
    batch_size: BatchSize,
    progress: Progress | None,
) -> Estimate:
    """Return importance as the mean drop of the log-probability without each part, one at a time."""
    return estimate_drops(drops_without_each(model, requests, path, batch_size, progress))


def verified_estimate(
    model: Model,
    requests: Sequence[EncodedRequest],
    path: AblationPath,
    share: float,
    loss_scale: float,
    batch_size: BatchSize,
    progress: Progress | None,
) -> Estimate:
    """Return the drop without each part that is highest by `example`, and for the rest its first-order estimate.

    `extras["verified"]` is 1 for the parts that were really ablated, floor(share · N) of N, at least one.
    """
    contributions = gradient_contributions(model, requests, loss_scale, batch_size, None, path)
    sizes = contributions.signed.abs().mean(0)
    verified = highest_share(sizes, share)
    drops = first_order_drops(contributions, _predicted(requests))
    parts = [[(layer, number)] for layer, number in verified.nonzero().tolist()]
    drops[:, verified] = drops_without(model, requests, path, parts, batch_size, progress)
    estimate = estimate_drops(drops)
    return estimate._replace(extras={**estimate.extras, "verified": verified.float()})


def drops_without_each(
    model: Model,
    requests: Sequence[EncodedRequest],
    path: AblationPath,
    batch_size: BatchSize,
    progress: Progress | None,
) -> Float[Tensor, "example layer part"]:
    """Return the drop of the log-probability of each example without each part, one at a time."""
    _, layers = places_of(model, path.part)
    parts = [[(layer, number)] for layer in layers for number in range(n_parts(model, path.part))]
    drops = drops_without(model, requests, path, parts, batch_size, progress)
    return over_all_layers(model, drops.view(len(requests), len(layers), -1), 1, layers)


def drops_without(
    model: Model,
    requests: Sequence[EncodedRequest],
    path: AblationPath,
    sets: Sets,
    batch_size: BatchSize,
    progress: Progress | None,
) -> Float[Tensor, "example set"]:
    """Return the drop of the log-probability of each example without each set of parts."""
    trees = [build_tree([request]) for request in requests]

    def prepare(batch: list[int]) -> Prepared[Tensor]:
        return without_sets(model, [trees[index] for index in batch], sets, path)

    return torch.stack(run_batches(model, prepare, [len(tree.ids) for tree in trees], batch_size, progress))


def _predicted(requests: Sequence[EncodedRequest]) -> Tensor:
    """Return the number of tokens predicted in each example."""
    return torch.tensor([len(request.ids) - request.start for request in requests])
