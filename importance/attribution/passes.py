"""The forward and backward passes behind importance: what is read from a running model.

The hooks travel to wherever the model is (see `headcount.travel`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from headcount.importance.attribution.gradients import Contributions, contributions
from headcount.importance.likelihoods.prefix_tree import Tokens, Tree, grow
from headcount.importance.likelihoods.score import (
    Likelihood,
    LogProbabilities,
    Needed,
    each_pass,
    needed,
    read_off,
    share_inputs,
    tree_pass,
)
from headcount.tracing import BatchSize, Hook, Model, Progress
from headcount.tracing.internal import (
    ForwardPass,
    Patch,
    Prepared,
    RecordGradient,
    RecordValue,
    Zero,
    run_batches,
)
from headcount.travel import travels

LESS = 32.0
"""What the scale of the loss is divided by where it was too much."""


def gradient_pass(
    model: Model,
    requests: Sequence[Tokens],
    loss_scale: float,
    batch_size: BatchSize = "auto",
    progress: Progress | None = None,
) -> Contributions:
    """What each example says of every head: one forward and one backward pass to the activations.

    Examples do not meet in a batch: each has its own loss, the sum of the losses is differentiated, and every z belongs
    to one example. Weights get no gradients.

    Args:
        model: The model.
        requests: One example each.
        loss_scale: The loss is multiplied by this before the backward pass and the gradients divided by it, so that
            small ones survive half precision. Examples whose gradients become infinite are run again with less.
        batch_size: Examples run together.
        progress: Told of every batch that is done.

    Returns:
        [example, layer, head] of each kind.
    """
    found = _of_examples(model, requests, loss_scale, batch_size, progress)
    while loss_scale > 1 and (infinite := [place for place, one in enumerate(found) if not _is_finite(one)]):
        loss_scale = max(1.0, loss_scale / LESS)
        again = _of_examples(model, [requests[place] for place in infinite], loss_scale, batch_size)
        for place, one in zip(infinite, again, strict=True):
            found[place] = one
    return Contributions(*(torch.stack(parts) for parts in zip(*found, strict=True)))


def _is_finite(one: Contributions) -> bool:
    return all(bool(values.isfinite().all()) for values in one)


def _of_examples(
    model: Model,
    requests: Sequence[Tokens],
    loss_scale: float,
    batch_size: BatchSize,
    progress: Progress | None = None,
) -> list[Contributions]:
    """[layer, head] of each kind, for each example."""

    def prepare(chosen: list[int]) -> Prepared[Contributions]:
        reading = RecordGradient(Contribute(loss_scale))
        one = _differentiable_pass(model, [requests[index] for index in chosen], reading, loss_scale)
        return [one], lambda _: _by_example(reading)

    lengths = [len(request.ids) - 1 for request in requests]
    return run_batches(model, prepare, lengths, batch_size, progress)


@travels
class Begin:
    """Lets gradients begin at the embeddings: from there on everything has one, whatever the weights do."""

    def __call__(self, embedded: Tensor, hook: Hook) -> Tensor:
        """A leaf in their place."""
        return embedded.detach().requires_grad_()


@travels
class Contribute:
    """Makes of a layer's z and its gradient the contributions of its heads: [kind, batch, head]."""

    def __init__(self, loss_scale: float) -> None:
        self.loss_scale = loss_scale

    def __call__(self, z: Tensor, gradient: Tensor) -> Tensor:
        """On the CPU."""
        return torch.stack(list(contributions(z, gradient))).cpu() / self.loss_scale


@travels
class Loss:
    """Makes of logits the sum of the examples' losses, each the mean over its tokens, times a factor.

    Trees of one request each read every place once, for one token.
    """

    def __init__(self, asked: Needed, counts: Tensor, loss_scale: float) -> None:
        self.row, self.target, self.counts, self.loss_scale = asked.row, asked.target, counts, loss_scale

    def __call__(self, logits: Tensor, hook: Hook) -> Tensor:
        """One number."""
        row, target, counts = (part.to(logits.device) for part in (self.row, self.target, self.counts))
        losses = torch.nn.functional.cross_entropy(logits.float(), target, reduction="none")
        return (losses / counts[row]).sum() * self.loss_scale


def _differentiable_pass(
    model: Model, requests: Sequence[Tokens], reading: RecordGradient, loss_scale: float
) -> ForwardPass:
    trees = [grow([request]) for request in requests]
    hooks: list[tuple[str, Any]] = [("hook_embed", Begin())]
    hooks += [(f"blocks.{layer}.attn.hook_z", reading) for layer in range(model.sizes.n_layers)]
    asked = needed(trees, model.device)
    counts = torch.tensor([len(tree.targets[0]) for tree in trees], device=model.device)
    with torch.enable_grad():
        return tree_pass(model, trees, asked, hooks, Loss(asked, counts, loss_scale))


def _by_example(reading: RecordGradient) -> list[Contributions]:
    """What was read in every layer, example by example: [layer, head] of each kind."""
    return [Contributions(*kinds) for kinds in torch.stack(reading.records, dim=2).unbind(1)]


def without_each_ffn(model: Model, trees: Sequence[Tree]) -> Prepared[list[list[Likelihood]]]:
    """Passes for the likelihoods of each tree with all parts, then without the feed-forward network of layer 0, 1, ...

    Up to the layer whose network is removed everything is as in the whole model, so each run begins there, with the
    residual stream of the first.
    """
    streams = [RecordValue(returns=False) for _ in range(model.sizes.n_layers)]
    runs: list[list[tuple[str, Any]]] = [_streams(streams)]
    for layer, stream in enumerate(streams):
        runs.append([*start_at(layer, Patch(stream)), (f"blocks.{layer}.hook_mlp_out", Zero())])
    return each_pass(model, trees, runs)


def without_each_head(model: Model, trees: Sequence[Tree]) -> Prepared[Float[Tensor, "layer head"]]:
    """Passes for how much the log-probability of each tree's first request falls without each head, one at a time.

    As in `without_each_ffn` each run begins at its layer, with the residual stream of the whole model; the heads of a
    layer are run together, the batch repeated once for each.
    """
    n_heads = model.sizes.n_heads
    streams = [RecordValue(returns=False) for _ in range(model.sizes.n_layers)]
    copies = list(trees) * n_heads
    asked, repeated = needed(trees, model.device), needed(copies, model.device)
    with torch.no_grad():
        passes = [tree_pass(model, trees, asked, _streams(streams), LogProbabilities(asked))]
        for layer, stream in enumerate(streams):
            hooks = [*start_at(layer, Patch(stream, n_heads)), (f"blocks.{layer}.attn.hook_z", _one_each)]
            passes.append(tree_pass(model, copies, repeated, hooks, LogProbabilities(repeated)))
        share_inputs(passes[1:])

    def read(found: Sequence[Any]) -> list[Tensor]:
        before = _log_p(trees, found[0])
        after = [_log_p(copies, one).view(n_heads, len(trees)) for one in found[1:]]
        return list(torch.stack([(before - one).T for one in after], dim=1))

    return passes, read


def _log_p(trees: Sequence[Tree], found: Any) -> Float[Tensor, " tree"]:
    """The log-probability of each tree's first request."""
    return torch.tensor([values[0].log_p for values in read_off(trees, *found)])


def _streams(streams: Sequence[RecordValue]) -> list[tuple[str, Any]]:
    return [(f"blocks.{layer}.hook_resid_pre", stream) for layer, stream in enumerate(streams)]


@travels
def _one_each(z: Tensor, hook: Hook) -> Tensor:
    """Silence head 0 in the first copy of the batch, head 1 in the second, and so on."""
    n_heads = z.shape[2]
    kept = 1 - torch.eye(n_heads, dtype=z.dtype, device=z.device).repeat_interleave(len(z) // n_heads, dim=0)
    return z * kept[:, None, :, None]


def start_at(layer: int, give: Any) -> list[tuple[str, Any]]:
    """Hooks that leave out all layers before this one and begin with a residual stream in hand."""
    return [(f"blocks.{earlier}.skip", give) for earlier in range(layer)]
