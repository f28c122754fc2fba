"""The forward pass of copying, in which every layer reads the embeddings; and eigenvalue copying, from the weights.

The hooks travel to wherever the model is (see `headcount.remote_code`); their records come back.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from headcount.induction.formulas.copying import copying_score, eigenvalue_score
from headcount.induction.formulas.head_logits import HeadUnembedding, project_unembedding
from headcount.remote_code import runs_remotely
from headcount.results import InputError
from headcount.tracing.internal import (
    Recorder,
    output_heads,
    over_all_layers,
    pad,
    pass_through,
    run_batches,
    to_device,
    unembed_embed,
    unembedding,
    value_heads,
)

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

    from headcount.tracing import AttentionCall, BatchSize, Hook, Model, Progress
    from headcount.tracing.internal import Prepared

_LOGITS_AT_ONCE = 1 << 24
"""Logits [batch, head, query, key] held at a time, 64 MiB of them: heads are taken in groups."""


def copying_pass(
    model: Model,
    rows: Sequence[Int[Tensor, " pos"]],
    definitions: Sequence[str],
    batch_size: BatchSize,
    progress: Progress | None = None,
) -> dict[str, Float[Tensor, "sequence layer head"]]:
    """Return the copying of each sequence by each definition, and the shares `self_attention` and `bos_attention`."""

    def prepare(batch: list[int]) -> Prepared[dict[str, Tensor]]:
        tokens = pad([rows[item] for item in batch], model.device)
        lengths = torch.tensor([len(rows[item]) for item in batch])
        record = RecordCopying(tokens, lengths, definitions, model.bos)
        return [model.pass_until_last(tokens, _hooks_on_embeddings(model, record))], lambda _: _by_sequence(record)

    scores = run_batches(model, prepare, [len(row) for row in rows], batch_size, progress)
    return {
        name: over_all_layers(model, torch.stack([sequence[name] for sequence in scores]), dim=1) for name in scores[0]
    }


def eigenvalue_copying(model: Model) -> Float[Tensor, "layer head"]:
    """Return the eigenvalue copying of every head, from the weights."""
    check_eigenvalues(model)
    middle = unembed_embed(model)
    by_layer = []
    for layer in model.layers_with_heads:
        w_v, w_o = value_heads(model, layer).double(), output_heads(model, layer)[0].double()
        by_layer.append(eigenvalue_score(w_v, w_o, middle.to(w_v.device)).cpu())
    return over_all_layers(model, torch.stack(by_layer), dim=0)


def check_eigenvalues(model: Model) -> None:
    """Refuse models in which the product of W_U, W_O, W_V and W_E is not what a head does to the embeddings.

    Raises:
        InputError: A norm follows the embedding, a gate multiplies the heads' outputs, or no matrix gives the values.
    """
    other = "choose another definition than 'eigenvalue'"
    if not model.reads_embedding:
        raise InputError(f"{model.name} does not read its embedding as it is (a norm follows it, say): {other}")
    if any(model.paths(layer).gated for layer in model.layers_with_heads):
        raise InputError(f"a gate multiplies what the heads of {model.name} give, which no weights tell: {other}")
    try:
        for layer in model.layers_with_heads:
            value_heads(model, layer)
    except InputError as error:
        raise InputError(f"{error}: {other}") from error


@runs_remotely
class ReadEmbeddings:
    """Makes every layer read the embeddings, which the first layer reads anyway."""

    def __init__(self) -> None:
        self.embedded: Tensor | None = None

    def __call__(self, resid_pre: Tensor, hook: Hook) -> Tensor | None:
        """Hold the first layer's input, and put it in the place of later ones."""
        if self.embedded is None:
            self.embedded = resid_pre
            return None
        return self.embedded.to(resid_pre.device)


@runs_remotely
class RecordCopying(Recorder):
    """Records the copying scores of a layer's heads: a dictionary of [batch, head] by definition."""

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
        self.held: Any = None

    def __call__(self, call: Any, hook: Hook) -> Tensor | None:
        """Record the scores of a call; or of the call that is held, given its gate, [batch, pos, head, d_head]."""
        if isinstance(call, torch.Tensor):
            self.score(self.held, hook, call.transpose(1, 2).float())
            return None
        self.score(call, hook)
        # never used: the next layer reads the embeddings again
        return call.query.new_zeros(()).expand(*call.query.shape[:3], call.value.shape[-1])

    def hold(self, call: AttentionCall, hook: Hook) -> Tensor:
        """Hold a call, and return ones in place of its output, which the gate then multiplies."""
        self.held = call
        return torch.ones_like(call.attend().output)

    def score(self, call: AttentionCall, hook: Hook, gate: Tensor | None = None) -> None:
        """Record the scores, with the heads' outputs times a gate if there is one."""
        if self.unembedding is None:
            self.unembedding = unembedding(hook.model, self.tokens)
        rows, bias = self.unembedding
        w_o, b_o = output_heads(hook.model, hook.layer())
        device = call.query.device
        projected = project_unembedding(rows.to(device), bias.to(device), w_o, b_o)
        scores = _layer_scores(call, projected, self.valid.to(device), self.definitions, gate)
        scores["bos_attention"] = scores["bos_attention"] * self.begins_with_bos.to(device)
        self.records.append(scores)


@runs_remotely
def _layer_scores(
    call: AttentionCall,
    projected: HeadUnembedding,
    valid: Tensor,
    definitions: Sequence[str],
    gate: Tensor | None = None,
) -> dict[str, Float[Tensor, "batch head"]]:
    """Return the copying scores of one layer, computed for a group of heads at a time."""
    batch, n_heads, length, _ = call.query.shape
    group = max(1, _LOGITS_AT_ONCE // (batch * length * length))
    parts = []
    for heads in torch.split(torch.arange(n_heads), group):
        group_call = call.of_heads(heads)
        group_unembedding = HeadUnembedding(projected.per_head[:, heads], projected.constant)
        scores = group_call.scores().float()
        attended = scores.argmax(-1)
        z = group_call.softmax(scores) @ group_call.value.float()
        z = z if gate is None else z * gate[:, heads.to(gate.device)]
        through = {"published": group_call.value.float()}
        part = {
            name: copying_score(through.get(name, z), attended, group_unembedding, valid, name) for name in definitions
        }
        itself = attended == torch.arange(length, device=attended.device)
        part["self_attention"] = _share(itself, valid)
        part["bos_attention"] = _share(attended == 0, valid)
        parts.append(part)
    return {name: torch.cat([part[name] for part in parts], dim=1) for name in parts[0]}


@runs_remotely
def _share(condition: Tensor, valid: Tensor) -> Float[Tensor, "batch head"]:
    """Return the share of the valid positions for which a condition holds."""
    return (condition & valid[:, None]).sum(-1) / valid.sum(-1)[:, None]


def _hooks_on_embeddings(model: Model, record: RecordCopying) -> list[tuple[str, Any]]:
    """Return hooks that run every layer's attention on the embeddings and score it."""
    embeddings = ReadEmbeddings()
    hooks: list[tuple[str, Any]] = []
    last = model.layers_with_heads[-1]
    for layer in range(last + 1):
        block = f"blocks.{layer}."
        hooks += [(block + "hook_resid_pre", embeddings)]
        if model.paths(layer).gated:
            hooks += [(block + "attn.call", record.hold), (block + "attn.hook_z", record)]
        elif model.paths(layer).attention:
            hooks += [(block + "attn.call", record)]
        if layer < last:
            skips = [name for name in model.hooks if name.startswith(f"{block}mlp.skip_")]
            hooks += [(name, pass_through) for name in skips]
    return hooks


def _by_sequence(record: RecordCopying) -> list[dict[str, Tensor]]:
    """Return the scores of all layers, sequence by sequence: [layer, head] of each kind."""
    layers = to_device("cpu", record.records)  # only now: to wait for a layer's numbers would stop a GPU at each layer
    stacked = {name: torch.stack([layer[name] for layer in layers], dim=1) for name in layers[0]}
    return [dict(zip(stacked, values, strict=True)) for values in zip(*stacked.values(), strict=True)]
