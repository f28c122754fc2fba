"""The forward passes behind the scores: what is read from a running model, and computed on the spot.

The hooks travel to wherever the model is (see `headcount.travel`); their records come back.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from headcount.induction import prefix_score
from headcount.induction.copying_score import Unembedding, copying_score, eigenvalue_score, project
from headcount.tracing.internal import (
    Recorder,
    output_heads,
    pad,
    pass_through,
    run_batches,
    to_device,
    unembed_embed,
    unembedding,
    value_heads,
)
from headcount.travel import travels

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

    from headcount.tracing import AttentionCall, BatchSize, Hook, Model, Progress
    from headcount.tracing.internal import Prepared

_LOGITS_AT_ONCE = 1 << 24
"""Logits [batch, head, query, key] held at a time, 64 MiB of them: heads are taken in groups."""


@travels
class PrefixReading(Recorder):
    """Keeps the prefix matching of every head of a layer, [batch, head], and puts attention's output in its place."""

    def __init__(self, query: Tensor, key: Tensor, real: Tensor, divisor: Tensor) -> None:
        super().__init__()
        self.query, self.key, self.real, self.divisor = query, key, real, divisor

    def __call__(self, call: AttentionCall, hook: Hook) -> Tensor:
        """Read the entries that count."""
        output, log_sum_exp = call.attend()
        here = output.device
        attention = call.entries(self.query.to(here), self.key.to(here), log_sum_exp) * self.real.to(here)[:, None]
        self.records.append(attention.sum(-1) / self.divisor.to(here))
        return output


def prefix_pass(
    model: Model,
    rows: Sequence[Int[Tensor, " pos"]],
    periods: Sequence[int],
    definition: str,
    batch_size: BatchSize,
    progress: Progress | None = None,
) -> Float[Tensor, "sequence layer head"]:
    """Prefix matching of each sequence, their periods as they may be."""
    wanted = [
        prefix_score.entries(period, prefix_score.has_bos(len(row), period), definition)
        for row, period in zip(rows, periods, strict=True)
    ]

    def prepare(batch: list[int]) -> Prepared[Tensor]:
        query, key, real = (
            pad(part, model.device) for part in zip(*(_with_mask(wanted[i]) for i in batch), strict=True)
        )
        divisor = torch.tensor([wanted[item].divisor for item in batch], device=model.device)[:, None]
        reading = PrefixReading(query, key, real, divisor)
        hooks = [(f"blocks.{layer}.attn.call", reading) for layer in range(model.sizes.n_layers)]
        one = model.pass_until_last(pad([rows[item] for item in batch], model.device), hooks)
        return [one], lambda _: list(torch.stack(to_device("cpu", reading.records), dim=1))

    return torch.stack(run_batches(model, prepare, [len(row) for row in rows], batch_size, progress))


def _with_mask(entries: prefix_score.Entries) -> tuple[Tensor, Tensor, Tensor]:
    """Queries and keys, and True for each: padding will be False."""
    return entries.query, entries.key, torch.ones_like(entries.query, dtype=torch.bool)


def copying_pass(
    model: Model,
    rows: Sequence[Int[Tensor, " pos"]],
    definitions: Sequence[str],
    batch_size: BatchSize,
    progress: Progress | None = None,
) -> dict[str, Float[Tensor, "sequence layer head"]]:
    """Copying of each sequence by each definition, and the shares `self_attention` and `bos_attention`."""

    def prepare(batch: list[int]) -> Prepared[dict[str, Tensor]]:
        tokens = pad([rows[item] for item in batch], model.device)
        reading = CopyingReading(tokens, torch.tensor([len(rows[item]) for item in batch]), definitions, model.bos)
        return [model.pass_until_last(tokens, _on_embeddings(model, reading))], lambda _: _by_sequence(reading)

    found = run_batches(model, prepare, [len(row) for row in rows], batch_size, progress)
    return {name: torch.stack([row[name] for row in found]) for name in found[0]}


def _by_sequence(reading: CopyingReading) -> list[dict[str, Tensor]]:
    """What was read in every layer, sequence by sequence: [layer, head] of each kind."""
    kept = to_device("cpu", reading.records)  # only now: a layer that waits for its numbers keeps a GPU from going on
    stacked = {name: torch.stack([layer[name] for layer in kept], dim=1) for name in kept[0]}
    return [dict(zip(stacked, values, strict=True)) for values in zip(*stacked.values(), strict=True)]


@travels
class Embeddings:
    """Gives every layer the embeddings to read, which the first one has."""

    def __init__(self) -> None:
        self.embedded: Tensor | None = None

    def __call__(self, resid_pre: Tensor, hook: Hook) -> Tensor | None:
        """Remember them, or give them."""
        if self.embedded is None:
            self.embedded = resid_pre
            return None
        return self.embedded.to(resid_pre.device)


@travels
class CopyingReading(Recorder):
    """Keeps the copying scores of a layer's heads: a dictionary of [batch, head] by definition."""

    def __init__(
        self,
        tokens: Int[Tensor, "batch pos"],
        lengths: Int[Tensor, " batch"],
        definitions: Sequence[str],
        bos: int | None,
    ) -> None:
        super().__init__()
        positions = torch.arange(tokens.shape[1])
        self.tokens, self.definitions = tokens, list(definitions)
        self.valid = (positions >= 1) & (positions < lengths[:, None])
        self.begins_with_bos = tokens[:, :1] == (-1 if bos is None else bos)
        self.unembedding: Any = None

    def __call__(self, call: AttentionCall, hook: Hook) -> Tensor:
        """Score the call."""
        if self.unembedding is None:
            self.unembedding = unembedding(hook.model, self.tokens)
        rows, bias = self.unembedding
        w_o, b_o = output_heads(hook.model, hook.layer())
        here = call.query.device
        written = project(rows.to(here), bias.to(here), w_o, b_o)
        scored = _score_call(call, written, self.valid.to(here), self.definitions)
        scored["bos_attention"] = scored["bos_attention"] * self.begins_with_bos.to(here)
        self.records.append(scored)
        return call.query  # never used: the next layer reads the embeddings again


def _on_embeddings(model: Model, reading: CopyingReading) -> list[tuple[str, Any]]:
    """Hooks that run every layer's attention on the embeddings and score it."""
    embeddings = Embeddings()
    hooks: list[tuple[str, Any]] = []
    for layer in range(model.sizes.n_layers):
        block = f"blocks.{layer}."
        hooks += [(block + "hook_resid_pre", embeddings), (block + "attn.call", reading)]
        if layer < model.sizes.n_layers - 1:
            hooks += [(f"{block}mlp.skip_{number}", pass_through) for number in range(len(model.family.mlp))]
    return hooks


@travels
def _score_call(
    call: AttentionCall, unembed: Unembedding, valid: Tensor, definitions: Sequence[str]
) -> dict[str, Float[Tensor, "batch head"]]:
    """Copying scores of one layer, a group of heads at a time."""
    batch, n_heads, length, _ = call.query.shape
    group = max(1, _LOGITS_AT_ONCE // (batch * length * length))
    parts = []
    for heads in torch.split(torch.arange(n_heads), group):
        some = call.of_heads(heads)
        written = Unembedding(unembed.per_head[:, heads], unembed.constant)
        scores = some.scores().float()
        attended = scores.argmax(-1)
        z = scores.softmax(-1) @ some.value.float()
        through = {"published": some.value.float()}
        part = {name: copying_score(through.get(name, z), attended, written, valid, name) for name in definitions}
        own = attended == torch.arange(length, device=attended.device)
        part["self_attention"] = _share(own, valid)
        part["bos_attention"] = _share(attended == 0, valid)
        parts.append(part)
    return {name: torch.cat([part[name] for part in parts], dim=1) for name in parts[0]}


@travels
def _share(where: Tensor, valid: Tensor) -> Float[Tensor, "batch head"]:
    return (where & valid[:, None]).sum(-1) / valid.sum(-1)[:, None]


def eigenvalues(model: Model) -> Float[Tensor, "layer head"]:
    """Eigenvalue copying of every head, from the weights."""
    middle = unembed_embed(model)
    by_layer = []
    for layer in range(model.sizes.n_layers):
        w_v, w_o = value_heads(model, layer).double(), output_heads(model, layer)[0].double()
        by_layer.append(eigenvalue_score(w_v, w_o, middle.to(w_v.device)).cpu())
    return torch.stack(by_layer)
