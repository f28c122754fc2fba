"""Forward passes in which one head's output at the last token of a prompt is replaced, and their first-order estimate.

The last token of a prompt, and the continuation behind it, is one branch of a tree for each head, so that the prompt is
read once for all heads of a layer; layers below are not computed again. The hooks travel to wherever the model is (see
`headcount.remote_code`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from headcount.importance.attribution.gradient_passes import SCALE_STEP, StartGradients
from headcount.importance.likelihoods.encoding import EncodedRequest
from headcount.importance.likelihoods.log_likelihoods import sum_by_request
from headcount.importance.likelihoods.prefix_tree import PrefixTree, build_tree
from headcount.importance.likelihoods.tree_passes import (
    LogitPositions,
    TargetLogProbabilities,
    logit_positions,
    may_share_rows,
    share_inputs,
    tree_pass,
)
from headcount.remote_code import runs_remotely
from headcount.tracing import BatchSize, Hook, Model, Progress
from headcount.tracing.internal import Patch, Prepared, RecordGradient, RecordValue, over_all_layers, run_batches

Means = Float[Tensor, "layer head d_head"]


def patched_effects(
    model: Model,
    requests: Sequence[EncodedRequest],
    means: Means,
    batch_size: BatchSize = "auto",
    progress: Progress | None = None,
) -> Float[Tensor, "example layer head"]:
    """Return the rise of the continuation's probability as each head's z at the context's last token is replaced.

    Args:
        model: The model.
        requests: The prompts.
        means: The replacement of each head's z.
        batch_size: Prompts run together.
        progress: Called after each batch with the number of prompts in it.
    """
    shared = may_share_rows(model, [len(request.ids) for request in requests])

    def prepare(batch: list[int]) -> Prepared[Tensor]:
        return _patched(model, [requests[index] for index in batch], means, shared=shared)

    lengths = [len(request.ids) - 1 for request in requests]
    return torch.stack(run_batches(model, prepare, lengths, batch_size, progress))


class HeadBranches(NamedTuple):
    """A batch of prompts with the last token of each, and what follows it, once for each head of a layer.

    Attributes:
        trees: The rows of the passes with replacements.
        whole: The rows of the pass without.
        repeats: The number of times that the rows of the latter are repeated in the former.
        row, pos: The place of the last token of each prompt for each head.
    """

    trees: list[PrefixTree]
    whole: list[PrefixTree]
    repeats: int
    row: Int[Tensor, "prompt head"]
    pos: Int[Tensor, "prompt head"]

    @classmethod
    def of(cls, requests: Sequence[EncodedRequest], n_heads: int, *, shared: bool) -> HeadBranches:
        """Return the rows: one tree for each prompt, or copies of it where branches must not share a row."""
        last = torch.tensor([request.start - 1 for request in requests])[:, None]
        row, head = torch.arange(len(requests))[:, None], torch.arange(n_heads)[None]
        if not shared:
            trees = [build_tree([request]) for request in requests]
            return cls(trees * n_heads, trees, n_heads, row + head * len(requests), last.expand(-1, n_heads))
        tail = torch.tensor([len(request.ids) - request.start for request in requests])[:, None]
        trees = [head_tree(request, n_heads) for request in requests]
        return cls(trees, trees, 1, row.expand(-1, n_heads), last + head * tail)

    def probabilities(self, result: Any) -> Float[Tensor, "prompt head"]:
        """Return the probability of each prompt's continuation in each branch, from a pass over `trees`."""
        log_p = [[values.log_p for values in of_row] for of_row in sum_by_request(self.trees, *result)]
        by_row = torch.tensor(log_p, dtype=torch.float64).exp()
        return by_row if self.repeats == 1 else by_row[:, 0].unflatten(0, (self.repeats, -1)).T

    def whole_probability(self, result: Any) -> Float[Tensor, " prompt"]:
        """Return the probability of each prompt's continuation, from the pass over `whole`."""
        return torch.tensor([values[0].log_p for values in sum_by_request(self.whole, *result)]).double().exp()


def head_tree(request: EncodedRequest, n_heads: int) -> PrefixTree:
    """Return a prompt without its last token as the prefix, and that token and the continuation as equal branches."""
    shared = request.start - 1
    prefix, tail = request.ids[:shared], request.ids[shared:-1]
    starts = [shared + head * len(tail) for head in range(n_heads)]
    return PrefixTree(
        ids=(*prefix, *tail * n_heads),
        positions=(*range(shared), *tuple(range(shared, len(request.ids) - 1)) * n_heads),
        branch=(*[0] * shared, *(head + 1 for head in range(n_heads) for _ in tail)),
        predict_at=tuple(tuple(range(start, start + len(tail))) for start in starts),
        targets=(request.ids[request.start :],) * n_heads,
    )


def _patched(
    model: Model, requests: Sequence[EncodedRequest], means: Means, *, shared: bool
) -> Prepared[Float[Tensor, "layer head"]]:
    """Return passes for the effects of all heads on some prompts: one pass without and one for each layer."""
    branches = HeadBranches.of(requests, model.sizes.n_heads, shared=shared)
    layers = model.layers_with_heads
    streams = {layer: RecordValue(returns=False) for layer in layers}
    recording = [(f"blocks.{layer}.hook_resid_pre", stream) for layer, stream in streams.items()]
    whole, copies = (logit_positions(trees, model.device) for trees in (branches.whole, branches.trees))
    with torch.no_grad():
        passes = [tree_pass(model, branches.whole, whole, recording, TargetLogProbabilities(whole))]
        for layer in layers:
            start = Patch(streams[layer], branches.repeats)
            hooks: list[tuple[str, Any]] = [(f"blocks.{earlier}.skip", start) for earlier in range(layer)]
            hooks.append((f"blocks.{layer}.attn.hook_z", ReplaceAt(means[layer], branches.row, branches.pos)))
            passes.append(tree_pass(model, branches.trees, copies, hooks, TargetLogProbabilities(copies)))
        share_inputs(passes[1:])

    def read(results: Sequence[Any]) -> list[Tensor]:
        before = branches.whole_probability(results[0])[:, None]
        effects = torch.stack([branches.probabilities(result) - before for result in results[1:]], dim=1)
        return list(over_all_layers(model, effects, 1, layers).float())

    return passes, read


@runs_remotely
class ReplaceAt:
    """Replaces the z of each head by a value, at one place of each prompt: [head, d_head] at [prompt, head]."""

    def __init__(
        self,
        values: Float[Tensor, "head d_head"],
        row: Int[Tensor, "prompt head"],
        pos: Int[Tensor, "prompt head"],
    ) -> None:
        self.values, self.row, self.pos = values, row, pos

    def __call__(self, z: Tensor, hook: Hook) -> Tensor:
        """Return z with the replacements."""
        edited, device = z.clone(), z.device
        heads = torch.arange(z.shape[2], device=device)
        # Where the values of layers have several widths, narrower ones are filled up.
        edited[self.row.to(device), self.pos.to(device), heads] = self.values[:, : z.shape[3]].to(z)
        return edited


def estimated_effects(
    model: Model,
    requests: Sequence[EncodedRequest],
    means: Means,
    loss_scale: float,
    batch_size: BatchSize = "auto",
    progress: Progress | None = None,
) -> Float[Tensor, "example layer head"]:
    """Return the first-order rise of the probability as each head's z at the last token of a context is replaced.

    Args:
        model: The model.
        requests: The prompts.
        means: The replacement of each head's z.
        loss_scale: As for `gradient_contributions`.
        batch_size: Prompts run together.
        progress: Called after each batch with the number of prompts in it.
    """
    effects = _estimated(model, requests, means, loss_scale, batch_size, progress)
    while loss_scale > 1 and (infinite := [index for index, values in enumerate(effects) if values.isinf().any()]):
        loss_scale = max(1.0, loss_scale / SCALE_STEP)
        again = _estimated(model, [requests[index] for index in infinite], means, loss_scale, batch_size, None)
        for index, values in zip(infinite, again, strict=True):
            effects[index] = values
    return over_all_layers(model, torch.stack(effects), 1)


def _estimated(
    model: Model,
    requests: Sequence[EncodedRequest],
    means: Means,
    loss_scale: float,
    batch_size: BatchSize,
    progress: Progress | None,
) -> list[Float[Tensor, "layer head"]]:
    layers = model.layers_with_heads

    def prepare(batch: list[int]) -> Prepared[Tensor]:
        trees = [build_tree([requests[index]]) for index in batch]
        last = torch.tensor([requests[index].start - 1 for index in batch])
        recorders = [RecordGradient(ChangeAtLast(means[layer], last, loss_scale)) for layer in layers]
        hooks: list[tuple[str, Any]] = [("hook_embed", StartGradients())]
        hooks += [(f"blocks.{layer}.attn.hook_z", recorder) for layer, recorder in zip(layers, recorders, strict=True)]
        positions = logit_positions(trees, model.device)
        with torch.enable_grad():
            forward = tree_pass(model, trees, positions, hooks, SumOfProbabilities(positions, len(trees), loss_scale))
        return [forward], lambda _: list(torch.stack([recorder.records[0] for recorder in recorders], dim=1))

    return run_batches(model, prepare, [len(request.ids) - 1 for request in requests], batch_size, progress)


@runs_remotely
class ChangeAtLast:
    """Reduces a layer's z and the probability's gradient to (mean - z) · gradient at the last token: [batch, head]."""

    def __init__(self, means: Float[Tensor, "head d_head"], last: Int[Tensor, " batch"], loss_scale: float) -> None:
        self.means, self.last, self.loss_scale = means, last, loss_scale

    def __call__(self, z: Tensor, gradient: Tensor) -> Tensor:
        """Return the changes of the probability, on the CPU."""
        rows, last = torch.arange(len(z), device=z.device), self.last.to(z.device)
        change = self.means[:, : z.shape[3]].to(z.device) - z[rows, last].float()
        return (change * gradient[rows, last].float()).sum(-1).cpu() / self.loss_scale


@runs_remotely
class SumOfProbabilities:
    """Turns logits into the sum of the examples' probabilities, each of the whole continuation, times a factor.

    Trees of one request each read every place once, for one token.
    """

    def __init__(self, positions: LogitPositions, n: int, loss_scale: float) -> None:
        self.row, self.target, self.n, self.loss_scale = positions.row, positions.target, n, loss_scale

    def __call__(self, logits: Tensor, hook: Hook) -> Tensor:
        """Return the sum, one number."""
        row, target = self.row.to(logits.device), self.target.to(logits.device)
        losses = torch.nn.functional.cross_entropy(logits.float(), target, reduction="none")
        return (-losses.new_zeros(self.n).index_add(0, row, losses)).exp().sum() * self.loss_scale
