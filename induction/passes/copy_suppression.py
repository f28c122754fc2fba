"""The forward pass of copy suppression; its hooks travel to wherever the model is (see `headcount.remote_code`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from headcount.induction.formulas.copy_suppression import copy_suppression_sums
from headcount.remote_code import runs_remotely
from headcount.tracing.internal import (
    Recorder,
    added_heads,
    centred_unembedding,
    final_logits,
    final_scale,
    norm_scale,
    output_heads,
    over_all_layers,
    pad,
    run_batches,
    to_device,
)

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

    from headcount.tracing import AttentionCall, BatchSize, Hook, Model, Progress
    from headcount.tracing.internal import Prepared


@runs_remotely
class RecordCopySuppression(Recorder):
    """Records the three sums of `copy_suppression_sums` at some queries, [three, batch, head, query] for each layer.

    The last record is the number by which the final norm divides at these queries, [batch, query].

    Attributes:
        tokens: The tokens.
        queries: The positions of the queries, [batch, query].
        k: The number of likeliest tokens that count as predicted.
        factors: The factor of what attention adds to the residual stream, by layer.
    """

    def __init__(
        self, tokens: Int[Tensor, "batch pos"], queries: Int[Tensor, "batch query"], k: int, factors: dict[int, float]
    ) -> None:
        super().__init__()
        self.tokens, self.queries, self.k, self.factors = tokens, queries, k, factors
        self.predicted: Any = None
        self.unembedding: Any = None

    def predict(self, resid: Tensor, hook: Hook) -> None:
        """Hold which keys' tokens are among the likeliest by the residual stream that the layer reads."""
        logits = final_logits(hook.model, self.at_queries(resid))
        tokens = self.tokens.to(logits.device)
        of_keys = logits.gather(-1, tokens[:, None].expand(-1, logits.shape[1], -1))
        self.predicted = of_keys >= logits.topk(self.k).values[..., -1:]

    def __call__(self, call: AttentionCall, hook: Hook) -> Tensor:
        """Record the sums; return attention's output."""
        device, n_heads = call.query.device, call.query.shape[1]
        if self.unembedding is None:
            self.unembedding = centred_unembedding(hook.model, self.tokens)
        w_o, norm = added_heads(hook.model, hook.layer())
        value = call.value.float().repeat_interleave(n_heads // call.value.shape[1], 1)
        written = torch.einsum("bkm,hdm->bhkd", self.unembedding.to(device), w_o.to(device))
        raised = (value * written).sum(-1) * self.factors[hook.layer()]
        pattern = call.softmax(call.scores().float())
        rows = self.queries.to(device)[:, None, :, None].expand(-1, n_heads, -1, pattern.shape[-1])
        pattern = pattern.gather(2, rows)
        sums = copy_suppression_sums(pattern, raised, self.predicted.to(device))
        if norm is not None:  # after attention: it divides what all heads add together
            plain_w, plain_b = output_heads(hook.model, hook.layer())
            added = torch.einsum("bhqd,hdm->bqm", pattern @ value, plain_w.to(device)) + plain_b.to(device)
            scale = norm_scale(norm, added)
            sums = torch.cat([sums[:2] / scale[:, None], sums[2:]])
        self.records.append(sums)
        return call.attend().output

    def finish(self, resid: Tensor, hook: Hook) -> None:
        """Record the number by which the final norm divides."""
        self.records.append(final_scale(hook.model, self.at_queries(resid)))

    def at_queries(self, resid: Tensor) -> Tensor:
        """Return the residual stream at the queries."""
        index = self.queries.to(resid.device)[:, :, None].expand(-1, -1, resid.shape[-1])
        return resid.gather(1, index)


def copy_suppression_pass(
    model: Model,
    rows: Sequence[Int[Tensor, " pos"]],
    k: int,
    n_queries: int,
    batch_size: BatchSize,
    progress: Progress | None = None,
) -> Float[Tensor, "sequence three layer head"]:
    """Return the three sums, each the mean over the queries of a sequence, the first two in logits."""
    layers = model.layers_with_heads
    factors = {layer: model.variant.residual_factor * model.paths(layer).attention_factor for layer in layers}

    def prepare(batch: list[int]) -> Prepared[Tensor]:
        chosen = [query_positions(len(rows[item]), n_queries) for item in batch]
        queries = pad(chosen, "cpu")
        counts = torch.tensor([len(positions) for positions in chosen])
        valid = torch.arange(queries.shape[1]) < counts[:, None]
        record = RecordCopySuppression(pad([rows[item] for item in batch], model.device), queries, k, factors)
        hooks: list[tuple[str, Any]] = []
        for layer in layers:
            hooks += [(f"blocks.{layer}.hook_resid_pre", record.predict), (f"blocks.{layer}.attn.call", record)]
        hooks.append((f"blocks.{model.sizes.n_layers - 1}.hook_resid_post", record.finish))
        return [model.pass_until_last(record.tokens, hooks)], lambda _: _means(record, valid)

    sums = torch.stack(run_batches(model, prepare, [len(row) for row in rows], batch_size, progress))
    return over_all_layers(model, sums, dim=2)


def query_positions(length: int, count: int) -> Int[Tensor, " query"]:
    """Return so many positions at most after the first of a sequence, evenly spread, the last among them."""
    positions = torch.linspace(1, length - 1, min(count, length - 1)).round().long()
    return positions if len(positions) > 1 else torch.tensor([length - 1])


def _means(record: RecordCopySuppression, valid: Tensor) -> list[Float[Tensor, "three layer head"]]:
    """Return the mean over the queries of each sequence, divided by what the final norm divides by."""
    *by_layer, scale = to_device("cpu", record.records)
    sums = torch.stack(by_layer, dim=3)  # [three, batch, head, layer, query]
    sums = torch.cat([sums[:2] / scale[:, None, None], sums[2:]])
    means = (sums * valid[:, None, None]).sum(-1) / valid.sum(-1)[:, None, None]
    return list(means.permute(1, 0, 3, 2))
