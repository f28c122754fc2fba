"""The forward passes behind the scores: what is read from a running model, and computed on the spot."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from induction import copies, prefix
from tracing import AttentionCall, BatchSize, Hook, Model, Progress, map_batches, pad
from tracing.weights import output_heads, unembed_embed, unembedding, value_heads

_LOGITS_AT_ONCE = 1 << 24
"""Logits [batch, head, query, key] held at a time, 64 MiB of them: heads are taken in groups."""


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
        prefix.entries(period, prefix.has_bos(len(row), period), definition)
        for row, period in zip(rows, periods, strict=True)
    ]

    def compute(batch: list[int]) -> Sequence[Tensor]:
        query, key, real = (
            pad(part, model.device) for part in zip(*(_with_mask(wanted[i]) for i in batch), strict=True)
        )
        count = torch.tensor([wanted[item].divisor for item in batch], device=model.device)[:, None]
        by_layer: list[Tensor] = []

        def at_call(call: AttentionCall, hook: Hook) -> Tensor:
            output, log_sum_exp = call.attend()
            here = output.device
            attention = call.entries(query.to(here), key.to(here), log_sum_exp) * real.to(here)[:, None]
            by_layer.append(attention.sum(-1) / count.to(here))
            return output

        hooks = [(f"blocks.{layer}.attn.call", at_call) for layer in range(model.sizes.n_layers)]
        model.run_until_last(pad([rows[item] for item in batch], model.device), hooks)
        return list(torch.stack([scores.cpu() for scores in by_layer], dim=1))

    lengths = [len(row) for row in rows]
    return torch.stack(map_batches(compute, lengths, batch_size, model.device.type, progress))


def _with_mask(entries: prefix.Entries) -> tuple[Tensor, Tensor, Tensor]:
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

    def compute(batch: list[int]) -> Sequence[dict[str, Tensor]]:
        tokens = pad([rows[item] for item in batch], model.device)
        lengths = torch.tensor([len(rows[item]) for item in batch])
        by_layer = _on_embeddings(model, tokens, lengths, definitions)
        stacked = {name: torch.stack([layer[name].cpu() for layer in by_layer], dim=1) for name in by_layer[0]}
        return [{name: values[row] for name, values in stacked.items()} for row in range(len(batch))]

    found = map_batches(compute, [len(row) for row in rows], batch_size, model.device.type, progress)
    return {name: torch.stack([row[name] for row in found]) for name in found[0]}


def _on_embeddings(
    model: Model, tokens: Int[Tensor, "batch pos"], lengths: Int[Tensor, " batch"], definitions: Sequence[str]
) -> list[dict[str, Float[Tensor, "batch head"]]]:
    """Run every layer's attention on the embeddings and score it: one dictionary of [batch, head] a layer."""
    unembed, unembed_bias = unembedding(model, tokens)
    positions = torch.arange(tokens.shape[1])
    valid = (positions >= 1) & (positions < lengths[:, None])
    begins_with_bos = tokens[:, :1] == (-1 if model.bos is None else model.bos)
    embedded: list[Tensor] = []
    by_layer: list[dict[str, Tensor]] = []

    def at_input(resid_pre: Tensor, hook: Hook) -> Tensor | None:
        if not embedded:
            embedded.append(resid_pre)
            return None
        return embedded[0].to(resid_pre.device)

    def at_call(call: AttentionCall, hook: Hook) -> Tensor:
        w_o, b_o = output_heads(model, hook.layer())
        here = call.query.device
        written = copies.project(unembed.to(here), unembed_bias.to(here), w_o, b_o)
        scored = _score_call(call, written, valid.to(here), definitions)
        scored["bos_attention"] = scored["bos_attention"] * begins_with_bos.to(here)
        by_layer.append(scored)
        return call.query  # never used: the next layer reads the embeddings again

    hooks: list[tuple[str, Callable[..., Any]]] = []
    for layer in range(model.sizes.n_layers):
        block = f"blocks.{layer}."
        hooks += [(block + "hook_resid_pre", at_input), (block + "attn.call", at_call)]
        if layer < model.sizes.n_layers - 1:
            hooks += [(f"{block}mlp.skip_{number}", _nothing) for number in range(len(model.family.mlp))]
    model.run_until_last(tokens, hooks)
    return by_layer


def _score_call(
    call: AttentionCall, unembed: copies.Unembedding, valid: Tensor, definitions: Sequence[str]
) -> dict[str, Float[Tensor, "batch head"]]:
    """Copying scores of one layer, a group of heads at a time."""
    batch, n_heads, length, _ = call.query.shape
    group = max(1, _LOGITS_AT_ONCE // (batch * length * length))
    parts = []
    for heads in torch.split(torch.arange(n_heads), group):
        some = call.of_heads(heads)
        written = copies.Unembedding(unembed.per_head[:, heads], unembed.constant)
        scores = some.scores().float()
        attended = scores.argmax(-1)
        z = scores.softmax(-1) @ some.value.float()
        through = {"published": some.value.float()}
        part = {
            name: copies.copying_score(through.get(name, z), attended, written, valid, name) for name in definitions
        }
        own = attended == torch.arange(length, device=attended.device)
        part["self_attention"] = _share(own, valid)
        part["bos_attention"] = _share(attended == 0, valid)
        parts.append(part)
    return {name: torch.cat([part[name] for part in parts], dim=1) for name in parts[0]}


def _share(where: Tensor, valid: Tensor) -> Float[Tensor, "batch head"]:
    return (where & valid[:, None]).sum(-1) / valid.sum(-1)[:, None]


def _nothing(value: Any, hook: Hook) -> None:
    return None


def eigenvalues(model: Model) -> Float[Tensor, "layer head"]:
    """Eigenvalue copying of every head, from the weights."""
    middle = unembed_embed(model)
    by_layer = []
    for layer in range(model.sizes.n_layers):
        w_v, w_o = value_heads(model, layer).double(), output_heads(model, layer)[0].double()
        by_layer.append(copies.eigenvalue_score(w_v, w_o, middle.to(w_v.device)).cpu())
    return torch.stack(by_layer)
