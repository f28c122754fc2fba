"""Forward and backward passes to the activations: every head's contributions to the loss of each example.

The hooks travel to wherever the model is (see `headcount.remote_code`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from headcount.importance.attribution.gradients import Contributions, layer_contributions
from headcount.importance.attribution.leave_one_out import Part, places_of
from headcount.importance.likelihoods.encoding import EncodedRequest
from headcount.importance.likelihoods.prefix_tree import build_tree
from headcount.importance.likelihoods.tree_passes import LogitPositions, logit_positions, tree_pass
from headcount.remote_code import runs_remotely
from headcount.tracing import BatchSize, Hook, Model, Progress
from headcount.tracing.internal import ForwardPass, Prepared, RecordGradient, over_all_layers, run_batches

SCALE_STEP = 32.0
"""Divisor of the loss's scale where gradients were infinite."""


def gradient_contributions(
    model: Model,
    requests: Sequence[EncodedRequest],
    loss_scale: float,
    batch_size: BatchSize = "auto",
    progress: Progress | None = None,
    part: Part = "head",
) -> Contributions:
    """Return the contributions of every head, or expert, to each example's loss: one forward and one backward pass.

    Examples do not meet in a batch: each has its own loss, the sum of the losses is differentiated, and every z belongs
    to one example. Weights get no gradients.

    Args:
        model: The model.
        requests: One example each.
        loss_scale: The loss is multiplied by this before the backward pass and the gradients divided by it, so that
            small ones survive half precision. Examples whose gradients become infinite are run again with less.
        batch_size: Examples run together.
        progress: Called after each batch with the number of examples in it.
        part: `head` takes each head's z, `expert` each expert's weight.

    Returns:
        [example, layer, head] of each kind, or [example, layer, expert].
    """
    examples = _by_example(model, requests, loss_scale, batch_size, progress, part)
    while loss_scale > 1 and (infinite := [index for index, values in enumerate(examples) if not _is_finite(values)]):
        loss_scale = max(1.0, loss_scale / SCALE_STEP)
        repeated = _by_example(model, [requests[index] for index in infinite], loss_scale, batch_size, None, part)
        for index, values in zip(infinite, repeated, strict=True):
            examples[index] = values
    kinds = [torch.stack(kind) for kind in zip(*examples, strict=True)]
    _, layers = places_of(model, part)
    return Contributions(*(over_all_layers(model, kind, 1, layers) for kind in kinds))


def _is_finite(contributions: Contributions) -> bool:
    return all(bool(values.isfinite().all()) for values in contributions)


def _by_example(
    model: Model,
    requests: Sequence[EncodedRequest],
    loss_scale: float,
    batch_size: BatchSize,
    progress: Progress | None = None,
    part: Part = "head",
) -> list[Contributions]:
    """Return [layer, head] of each kind, for each example."""

    def prepare(batch: list[int]) -> Prepared[Contributions]:
        record = RecordGradient(ReduceToContributions(loss_scale))
        forward = _differentiable_pass(model, [requests[index] for index in batch], record, loss_scale, part)
        return [forward], lambda _: _split_examples(record)

    lengths = [len(request.ids) - 1 for request in requests]
    return run_batches(model, prepare, lengths, batch_size, progress)


def _differentiable_pass(
    model: Model, requests: Sequence[EncodedRequest], record: RecordGradient, loss_scale: float, part: Part
) -> ForwardPass:
    trees = [build_tree([request]) for request in requests]
    hooks: list[tuple[str, Any]] = [("hook_embed", StartGradients())]
    hook, layers = places_of(model, part)
    hooks += [(f"blocks.{layer}.{hook}", record) for layer in layers]
    positions = logit_positions(trees, model.device)
    counts = torch.tensor([len(tree.targets[0]) for tree in trees], device=model.device)
    with torch.enable_grad():
        return tree_pass(model, trees, positions, hooks, SumOfLosses(positions, counts, loss_scale))


def _split_examples(record: RecordGradient) -> list[Contributions]:
    """Return the records of all layers, example by example: [layer, head] of each kind."""
    return [Contributions(*kinds) for kinds in torch.stack(record.records, dim=2).unbind(1)]


@runs_remotely
class StartGradients:
    """Makes the embeddings the first tensor with a gradient: all later ones have one, though the weights are frozen."""

    def __call__(self, embedded: Tensor, hook: Hook) -> Tensor:
        """Return the embeddings as computed from a leaf that requires a gradient: some models change them in place."""
        return embedded.detach().requires_grad_().clone()


@runs_remotely
class ReduceToContributions:
    """Reduces a layer's z and its gradient to the contributions of its heads: [kind, batch, head]."""

    def __init__(self, loss_scale: float) -> None:
        self.loss_scale = loss_scale

    def __call__(self, z: Tensor, gradient: Tensor) -> Tensor:
        """Return the contributions, on the CPU."""
        if z.dim() == 3:  # of experts: one number each
            z, gradient = z[..., None], gradient[..., None]
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
