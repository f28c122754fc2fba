"""The forward and backward passes behind importance: what is read from a running model."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from importance.gradient import Contributions, contributions
from importance.scoring import Likelihood, logits_of, run_trees
from importance.trees import Tokens, Tree, grow
from tracing import BatchSize, Hook, Model, Progress, map_batches


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
            small ones survive half precision.
        batch_size: Examples run together.
        progress: Told of every batch that is done.

    Returns:
        [example, layer, head] of each kind.
    """

    def compute(chosen: list[int]) -> list[Contributions]:
        absolute, signed = _differentiate(model, [requests[index] for index in chosen], loss_scale)
        return [Contributions(*of_one) for of_one in zip(absolute.cpu(), signed.cpu(), strict=True)]

    lengths = [len(request.ids) - 1 for request in requests]
    found = map_batches(compute, lengths, batch_size, model.device.type, progress)
    return Contributions(*(torch.stack(parts) for parts in zip(*found, strict=True)))


def _differentiate(
    model: Model, requests: Sequence[Tokens], loss_scale: float
) -> tuple[Float[Tensor, "batch layer head"], Float[Tensor, "batch layer head"]]:
    trees = [grow([request]) for request in requests]
    kept: list[Tensor] = []

    def begin(embedded: Tensor, hook: Hook) -> Tensor:
        return embedded.detach().requires_grad_()  # from here on everything has a gradient, whatever the weights do

    def keep(z: Tensor, hook: Hook) -> Tensor:
        kept.append(z.view_as(z))
        return kept[-1]  # what goes on is what is differentiated

    hooks: list[tuple[str, Any]] = [("hook_embed", begin)]
    hooks += [(f"blocks.{layer}.attn.hook_z", keep) for layer in range(model.sizes.n_layers)]
    places = [(row, place) for row, tree in enumerate(trees) for place in tree.read[0]]
    row, place = torch.tensor(places, device=model.device).unbind(1)
    target = torch.tensor([token for tree in trees for token in tree.targets[0]], device=model.device)
    counts = torch.tensor([len(tree.targets[0]) for tree in trees], device=model.device)
    with torch.enable_grad():
        logits = logits_of(model, trees, row, place, hooks)
        losses = torch.nn.functional.cross_entropy(logits.float(), target.to(logits.device), reduction="none")
        loss = (losses / counts[row]).sum() * loss_scale
        gradients = torch.autograd.grad(loss, kept)
    per_layer = [contributions(z.detach(), gradient) for z, gradient in zip(kept, gradients, strict=True)]
    absolute, signed = (torch.stack([part.cpu() for part in parts], dim=1) for parts in zip(*per_layer, strict=True))
    return absolute / loss_scale, signed / loss_scale


def without_each_ffn(model: Model, trees: Sequence[Tree]) -> list[list[list[Likelihood]]]:
    """The likelihoods of a batch with all parts, then without the feed-forward network of layer 0, 1, ...

    Up to the layer whose network is removed everything is as in the whole model, so each run begins there, with the
    residual stream of the first.
    """
    streams: list[Tensor] = []

    def keep(resid_pre: Tensor, hook: Hook) -> None:
        streams.append(resid_pre.detach().clone())

    layers = range(model.sizes.n_layers)
    found = [run_trees(model, trees, [(f"blocks.{layer}.hook_resid_pre", keep) for layer in layers])]
    for layer in layers:
        removed: tuple[str, Any] = (f"blocks.{layer}.hook_mlp_out", _silence)
        found.append(run_trees(model, trees, [*start_at(layer, streams[layer]), removed]))
    return found


def without_each_head(model: Model, trees: Sequence[Tree]) -> Float[Tensor, "tree layer head"]:
    """How much the log-probability of each tree's first request falls without each head, one at a time.

    As in `without_each_ffn` each run begins at its layer, with the residual stream of the whole model; the heads of a
    layer are run together, the batch repeated once for each.
    """
    streams: list[Tensor] = []

    def keep(resid_pre: Tensor, hook: Hook) -> None:
        streams.append(resid_pre.detach().clone())

    layers, n_heads = range(model.sizes.n_layers), model.sizes.n_heads
    whole = run_trees(model, trees, [(f"blocks.{layer}.hook_resid_pre", keep) for layer in layers])
    before = torch.tensor([values[0].log_p for values in whole])
    drops = []
    for layer in layers:
        hooks = [*start_at(layer, streams[layer].repeat(n_heads, 1, 1)), (f"blocks.{layer}.attn.hook_z", _one_each)]
        found = run_trees(model, list(trees) * n_heads, hooks)
        after = torch.tensor([values[0].log_p for values in found]).view(n_heads, len(trees))
        drops.append((before - after).T)
    return torch.stack(drops, dim=1)


def _one_each(z: Tensor, hook: Hook) -> Tensor:
    """Silence head 0 in the first copy of the batch, head 1 in the second, and so on."""
    n_heads = z.shape[2]
    kept = 1 - torch.eye(n_heads, dtype=z.dtype, device=z.device).repeat_interleave(len(z) // n_heads, dim=0)
    return z * kept[:, None, :, None]


def start_at(layer: int, stream: Float[Tensor, "batch pos d_model"]) -> list[tuple[str, Any]]:
    """Hooks that leave out all layers before this one and begin with a residual stream in hand."""

    def give(value: Tensor, hook: Hook) -> Tensor:
        return stream

    return [(f"blocks.{earlier}.skip", give) for earlier in range(layer)]


def _silence(value: Tensor, hook: Hook) -> Tensor:
    return torch.zeros_like(value)
