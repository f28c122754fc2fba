"""Forward and backward passes to the activations: contributions of every part to the loss of each example.

The hooks travel to wherever the model is (see `headcount.remote_code`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from headcount.importance.attribution.ablation_path import FROM_ZERO, AblationPath, Part, Values, in_place_of, places_of
from headcount.importance.attribution.gradients import Contributions, layer_contributions
from headcount.importance.attribution.leave_one_out import record_streams, start_at
from headcount.importance.likelihoods.encoding import EncodedRequest
from headcount.importance.likelihoods.prefix_tree import PrefixTree, batch_trees, build_tree
from headcount.importance.likelihoods.tree_passes import LogitPositions, logit_positions, share_inputs, tree_pass
from headcount.remote_code import runs_remotely
from headcount.tracing import BatchSize, Hook, Model, Progress
from headcount.tracing.internal import (
    ForwardPass,
    Patch,
    Prepared,
    RecordGradient,
    RecordValue,
    over_all_layers,
    run_batches,
)

SCALE_STEP = 32.0
"""Divisor of the loss's scale where gradients were infinite."""


def gradient_contributions(
    model: Model,
    requests: Sequence[EncodedRequest],
    loss_scale: float,
    batch_size: BatchSize = "auto",
    progress: Progress | None = None,
    path: AblationPath = FROM_ZERO,
) -> Contributions:
    """Return the contributions of every part to each example's loss: one forward and one backward pass.

    Examples do not meet in a batch: each has its own loss, the sum of the losses is differentiated, and every z belongs
    to one example. Weights get no gradients.

    With several steps they are integrated gradients, layer by layer: the z of all heads of one layer is put at
    r + α(z - r), α = 1/steps, 2/steps, ..., 1, the layers after it follow, and the gradients at these points are
    averaged. Over the heads of a layer they sum to the change of the loss as all of them are ablated together, up to an
    error of the order of 1/steps. One step is the gradient at z itself.

    Args:
        model: The model.
        requests: One example each.
        loss_scale: The loss is multiplied by this before the backward pass and the gradients divided by it, so that
            small ones survive half precision. Examples whose gradients become infinite are run again with less.
        batch_size: Examples run together.
        progress: Called after each batch with the number of examples in it.
        path: The parts, their replacements r, and the steps.

    Returns:
        [example, layer, head] of each kind, or [example, layer, expert], or [example, layer, 1] of networks.

    Source: Sundararajan et al. 2017, Eq. 3, for integrated gradients.
    """
    examples = _by_example(model, requests, loss_scale, batch_size, progress, path)
    while loss_scale > 1 and (infinite := [index for index, values in enumerate(examples) if not _is_finite(values)]):
        loss_scale = max(1.0, loss_scale / SCALE_STEP)
        repeated = _by_example(model, [requests[index] for index in infinite], loss_scale, batch_size, None, path)
        for index, values in zip(infinite, repeated, strict=True):
            examples[index] = values
    kinds = [torch.stack(kind) for kind in zip(*examples, strict=True)]
    _, layers = places_of(model, path.part)
    return Contributions(*(over_all_layers(model, kind, 1, layers) for kind in kinds))


def _is_finite(contributions: Contributions) -> bool:
    return all(bool(values.isfinite().all()) for values in contributions)


def _by_example(
    model: Model,
    requests: Sequence[EncodedRequest],
    loss_scale: float,
    batch_size: BatchSize,
    progress: Progress | None,
    path: AblationPath,
) -> list[Contributions]:
    """Return [layer, head] of each kind, for each example."""

    def prepare(batch: list[int]) -> Prepared[Contributions]:
        trees = [build_tree([requests[index]]) for index in batch]
        before, values = path.values(model, trees)
        reduce = [ReduceToContributions(loss_scale, path.part, path.steps, r) for r in values.values()]
        recorders = [RecordGradient(function) for function in reduce]
        if path.steps == 1:
            passes = [_pass_at_once(model, trees, loss_scale, path.part, recorders)]
        else:
            passes = _passes_by_layer(model, trees, loss_scale, path, values, recorders)
        passes[0].before += before
        return passes, lambda _: _split_examples([recorder.records[0] for recorder in recorders])

    return run_batches(model, prepare, [len(request.ids) - 1 for request in requests], batch_size, progress)


def _pass_at_once(
    model: Model, trees: Sequence[PrefixTree], loss_scale: float, part: Part, recorders: Sequence[RecordGradient]
) -> ForwardPass:
    """Return one pass that records the gradients of all layers at z."""
    hook, layers = places_of(model, part)
    places = [(f"blocks.{layer}.{hook}", recorder) for layer, recorder in zip(layers, recorders, strict=True)]
    return _differentiable_pass(model, trees, [("hook_embed", StartGradients()), *places], loss_scale)


def _passes_by_layer(
    model: Model,
    trees: Sequence[PrefixTree],
    loss_scale: float,
    path: AblationPath,
    values: Mapping[int, Values],
    recorders: Sequence[RecordGradient],
) -> list[ForwardPass]:
    """Return a pass that records the residual streams, and for each layer one that begins with its stream.

    In the latter the batch is repeated once for each step.
    """
    streams = [RecordValue(returns=False) for _ in range(model.sizes.n_layers)]
    passes = [model.pass_until_last(batch_trees(trees).ids, record_streams(streams))]
    hook, _ = places_of(model, path.part)
    for (layer, replacement), recorder in zip(values.items(), recorders, strict=True):
        name = f"blocks.{layer}.{hook}"
        interpolate = (name, Interpolate(path.steps, replacement))
        hooks = [*start_at(layer, Patch(streams[layer], path.steps)), interpolate, (name, recorder)]
        passes.append(_differentiable_pass(model, list(trees) * path.steps, hooks, loss_scale))
    share_inputs(passes[1:])
    return passes


def _differentiable_pass(
    model: Model, trees: Sequence[PrefixTree], hooks: Sequence[tuple[str, Any]], loss_scale: float
) -> ForwardPass:
    positions = logit_positions(trees, model.device)
    counts = torch.tensor([len(tree.targets[0]) for tree in trees], device=model.device)
    with torch.enable_grad():
        return tree_pass(model, trees, positions, hooks, SumOfLosses(positions, counts, loss_scale))


def _split_examples(records: Sequence[Tensor]) -> list[Contributions]:
    """Return the records of all layers, example by example: [layer, head] of each kind."""
    return [Contributions(*kinds) for kinds in torch.stack(list(records), dim=2).unbind(1)]


@runs_remotely
class StartGradients:
    """Makes the embeddings the first tensor with a gradient: all later ones have one, though the weights are frozen."""

    def __call__(self, embedded: Tensor, hook: Hook) -> Tensor:
        """Return the embeddings as computed from a leaf that requires a gradient: some models change them in place."""
        return embedded.detach().requires_grad_().clone()


@runs_remotely
class Interpolate:
    """Puts z at points of the path from its replacement r, one copy of the batch each, where the gradient starts.

    Args:
        steps: The number of points r + α(z - r), α = 1/steps, 2/steps, ..., 1.
        values: r.
    """

    def __init__(self, steps: int, values: Values) -> None:
        self.steps, self.values = steps, values

    def __call__(self, z: Tensor, hook: Hook) -> Tensor:
        """Return the points; the last copy of the batch is z itself."""
        copies = z.unflatten(0, (self.steps, -1))
        left = 1 - torch.arange(1, self.steps + 1, dtype=z.dtype, device=z.device) / self.steps
        difference = copies if self.values is None else copies - in_place_of(copies[-1], self.values)
        points = copies - left.view(-1, *[1] * z.dim()) * difference
        return points.flatten(0, 1).detach().requires_grad_().clone()


@runs_remotely
class ReduceToContributions:
    """Reduces a layer's z and its gradient to the contributions of its parts: [kind, batch, head].

    Args:
        loss_scale: The factor of the loss.
        part: The parts that z belongs to.
        steps: The number of copies of the batch, see `Interpolate`; their gradients are averaged.
        values: r.
    """

    def __init__(self, loss_scale: float, part: str, steps: int, values: Values) -> None:
        self.loss_scale, self.part, self.steps, self.values = loss_scale, part, steps, values

    def __call__(self, z: Tensor, gradient: Tensor) -> Tensor:
        """Return the contributions, on the CPU."""
        z = z.unflatten(0, (self.steps, -1))[-1].float()
        gradient = gradient.unflatten(0, (self.steps, -1)).float().mean(0)
        if self.values is not None:
            z = z - in_place_of(z, self.values)
        if self.part == "expert":  # one number each
            z, gradient = z[..., None], gradient[..., None]
        if self.part == "ffn":  # one network a layer
            z, gradient = z[:, :, None], gradient[:, :, None]
        return torch.stack(list(layer_contributions(z, gradient))).cpu() / self.loss_scale


@runs_remotely
class SumOfLosses:
    """Turns logits into the sum of the examples' losses, each the mean over its tokens, times a factor.

    Trees of one request each read every place once, for one token.
    """

    def __init__(self, positions: LogitPositions, counts: Tensor, loss_scale: float) -> None:
        self.row, self.target, self.counts, self.loss_scale = positions.row, positions.target, counts, loss_scale

    def __call__(self, logits: Tensor, hook: Hook) -> Tensor:
        """Return the sum, one number."""
        row, target, counts = (part.to(logits.device) for part in (self.row, self.target, self.counts))
        losses = torch.nn.functional.cross_entropy(logits.float(), target, reduction="none")
        return (losses / counts[row]).sum() * self.loss_scale
