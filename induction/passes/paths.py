"""Forward passes in which what one head adds is replaced by its mean in the input of a later head, and nowhere else.

A pass holds copies of a batch: in copy 0 nothing is replaced, in copy 1 + h head h of a layer. The hooks travel to
wherever the model is (see `headcount.remote_code`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from headcount.induction.formulas.prefix_matching import PatternEntries
from headcount.remote_code import runs_remotely
from headcount.tracing.internal import (
    Patch,
    Recorder,
    RecordValue,
    output_heads,
    over_all_layers,
    pass_through,
    run_batches,
    unembedding,
)

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

    from headcount.tracing import AttentionCall, BatchSize, Hook, Model, Progress
    from headcount.tracing.internal import ForwardPass, Prepared


class PathTarget(NamedTuple):
    """The head whose input is changed.

    Attributes:
        layer: Its layer.
        head: Its place in the layer.
        on: The input that is changed: `key`, `query` or `value`.
        direct: True if only what earlier heads add to the residual stream is changed, and not what layers between
            make of it.
    """

    layer: int
    head: int
    on: str
    direct: bool


def path_scores(
    model: Model,
    rows: Int[Tensor, "sequence pos"],
    target: PathTarget,
    entries: PatternEntries,
    means: Mapping[int, Float[Tensor, "head d_head"]],
    batch_size: BatchSize,
    progress: Progress | None = None,
) -> Float[Tensor, "sequence layer copy"]:
    """Return the target's score as it is (copy 0), and with each head of each layer replaced by its mean.

    Layers from the target's on have NaN.
    """
    layers = [layer for layer in model.layers_with_heads if layer < target.layer]

    def prepare(batch: list[int]) -> Prepared[Tensor]:
        records = [RecordPathScore(target, entries, rows[batch], model.sizes.n_heads + 1) for _ in layers]
        passes = _passes(model, rows[batch], target, means, dict(zip(layers, records, strict=True)))
        return passes, lambda _: list(torch.stack([record.records[0] for record in records], dim=1))

    scores = torch.stack(run_batches(model, prepare, [rows.shape[1]] * len(rows), batch_size, progress))
    return over_all_layers(model, scores, 1, layers)


def _passes(
    model: Model,
    rows: Int[Tensor, "batch pos"],
    target: PathTarget,
    means: Mapping[int, Float[Tensor, "head d_head"]],
    records: dict[int, RecordPathScore],
) -> list[ForwardPass]:
    """Return the pass that records residual streams, and one for the heads of each earlier layer."""
    copies = model.sizes.n_heads + 1
    streams = {layer: RecordValue(returns=False) for layer in [*records, target.layer]}
    passes = [model.pass_until_last(rows, [(f"blocks.{layer}.hook_resid_pre", streams[layer]) for layer in streams])]
    for layer, record in records.items():
        hooks: list[tuple[str, Any]] = [
            (f"blocks.{earlier}.skip", Patch(streams[layer], copies)) for earlier in range(layer)
        ]
        hooks.append((f"blocks.{layer}.attn.hook_z", ReplaceEachHead(means[layer])))
        if target.direct:
            hooks += _to_target_alone(model, layer, target.layer, streams[target.layer])
        passes.append(
            model.pass_until_last(rows.repeat(copies, 1), [*hooks, (f"blocks.{target.layer}.attn.call", record)])
        )
    return passes


def _to_target_alone(model: Model, layer: int, target_layer: int, stream: RecordValue) -> list[tuple[str, Any]]:
    """Return hooks that bring the change of what a layer's attention adds to the target, past all between."""
    change, block = ChangeAlone(), f"blocks.{layer}."
    hooks: list[tuple[str, Any]] = [
        (name, pass_through) for name in model.hooks if name.startswith(f"{block}mlp.skip_")
    ]
    hooks += [(f"{block}hook_attn_out", change.hold), (f"{block}hook_resid_post", change)]
    hooks += [(f"blocks.{between}.skip", pass_through) for between in range(layer + 1, target_layer)]
    return [*hooks, (f"blocks.{target_layer}.hook_resid_pre", AddTo(stream))]


def stream_is_a_sum(model: Model, tokens: Int[Tensor, "1 pos"], layer: int) -> bool:
    """Return True if what is added to the residual stream before layer 0 reaches a layer unchanged.

    That is so where all that blocks add stays as it is; not with norms or factors in the stream itself.
    """
    names = [f"blocks.{earlier}.{part}" for earlier in range(layer) for part in ("hook_attn_out", "hook_mlp_out")]
    clean = {name: RecordValue(returns=False) for name in names if name in model.hooks}
    target, first = f"blocks.{layer}.hook_resid_pre", "blocks.0.hook_resid_pre"
    streams, shift = [RecordValue(), RecordValue()], RecordValue(returns=False)
    d_model = model.sizes.d_model
    shift.records.append(torch.linspace(-1, 1, d_model).roll(d_model // 3).expand(1, tokens.shape[1], -1))
    edits: list[tuple[str, Any]] = [(name, Patch(record)) for name, record in clean.items()]
    hooks: list[list[tuple[str, Any]]] = [
        [*clean.items(), (target, streams[0])],
        [*edits, (first, AddTo(shift)), (target, streams[1])],
    ]
    model.run_passes([model.pass_until_last(tokens, placed) for placed in hooks])
    before, after = (stream.records[0].float().cpu() for stream in streams)
    scale = 1.0 + before.abs().max()
    return bool((after - before - shift.records[0]).abs().max() < 1e-2 * scale)


def mean_outputs(
    model: Model, rows: Int[Tensor, "sequence pos"], layers: Sequence[int], batch_size: BatchSize
) -> dict[int, Float[Tensor, "head d_head"]]:
    """Return the mean z of every head of some layers, over all positions of all sequences."""

    def prepare(batch: list[int]) -> Prepared[list[Tensor]]:
        record = RecordMeans()
        forward = model.pass_until_last(rows[batch], [(f"blocks.{layer}.attn.hook_z", record) for layer in layers])
        return [forward], lambda _: [list(means) for means in zip(*record.records, strict=True)]

    by_sequence = run_batches(model, prepare, [rows.shape[1]] * len(rows), batch_size)
    by_layer = zip(layers, zip(*by_sequence, strict=True), strict=True)
    return {layer: torch.stack(means).mean(0) for layer, means in by_layer}


@runs_remotely
class RecordMeans(Recorder):
    """Records the mean over positions of z, [batch, head, d_head] for each layer."""

    def __call__(self, z: Tensor, hook: Hook) -> None:
        """Record the means, on the CPU."""
        self.records.append(z.detach().float().mean(1).cpu())


@runs_remotely
class ReplaceEachHead:
    """Replaces z of head h by its mean, at all positions, in copy 1 + h of a batch; copy 0 stays."""

    def __init__(self, means: Float[Tensor, "head d_head"]) -> None:
        self.means = means

    def __call__(self, z: Tensor, hook: Hook) -> Tensor:
        """Return the copies."""
        n_heads = z.shape[2]
        edited, means = z.clone().unflatten(0, (n_heads + 1, -1)), self.means.to(z)
        for head in range(n_heads):
            edited[head + 1, :, :, head] = means[head]
        return edited.flatten(0, 1)


@runs_remotely
class ChangeAlone:
    """Lets the change of what attention adds, in each copy of a batch against copy 0, go on as the residual stream."""

    def __init__(self) -> None:
        self.change: Any = None

    def hold(self, added: Tensor, hook: Hook) -> None:
        """Hold the change; `added` is from the same block, so that all of it is in memory."""
        copies = added.unflatten(0, (hook.model.sizes.n_heads + 1, -1))
        self.change = (copies - copies[:1]).flatten(0, 1)

    def __call__(self, resid: Tensor, hook: Hook) -> Tensor:
        """Return the change."""
        change, self.change = self.change, None
        return change


@runs_remotely
class AddTo:
    """Adds the one record of another hook, repeated along the batch, to a value."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder

    def __call__(self, value: Tensor, hook: Hook) -> Tensor:
        """Return the sum."""
        (record,) = self.recorder.records
        return (value.unflatten(0, (-1, len(record))) + record.to(value.device)).flatten(0, 1)


@runs_remotely
class RecordPathScore(Recorder):
    """Records a head's score in each copy of a batch, [batch, copy], with one input from the copy, others from copy 0.

    With a changed key or query the score is prefix matching. With changed values, which no pattern depends on, it is
    the logit that the head writes for the token that followed before, above the mean of all tokens so far.
    """

    def __init__(self, target: PathTarget, entries: PatternEntries, tokens: Tensor, copies: int) -> None:
        super().__init__()
        self.head, self.on, self.copies, self.tokens = target.head, target.on, copies, tokens
        self.query, self.key, self.divisor = entries.query, entries.key, entries.divisor

    def __call__(self, call: AttentionCall, hook: Hook) -> Tensor:
        """Record the scores, on the CPU."""
        of_head = call.of_heads(torch.tensor([self.head]))
        batch = len(of_head.query) // self.copies
        clean = {part: getattr(of_head, part)[:batch] for part in ("query", "key", "value") if part != self.on}
        of_head = of_head.replace(**{part: value.repeat(self.copies, 1, 1, 1) for part, value in clean.items()})
        scores = self.logits(of_head, hook) if self.on == "value" else self.prefix_matching(of_head)
        self.records.append(scores.unflatten(0, (self.copies, batch)).T.cpu())
        return call.query  # never used: the pass ends here

    def prefix_matching(self, call: AttentionCall) -> Tensor:
        """Return the sum of the pattern's entries that count, for each sequence."""
        device, rows = call.query.device, len(call.query)
        query, key = (index.to(device).expand(rows, -1) for index in (self.query, self.key))
        _, log_sum_exp = call.attend()
        return call.entries(query, key, log_sum_exp)[:, 0].sum(-1) / self.divisor

    def logits(self, call: AttentionCall, hook: Hook) -> Tensor:
        """Return the mean logit of the tokens that followed, less the mean over the tokens so far."""
        output, _ = call.attend()
        rows, _ = unembedding(hook.model, self.tokens)
        w_o, _ = output_heads(hook.model, hook.layer())
        per_token = (rows.to(output.device) @ w_o[self.head].T.to(output.device)).repeat(self.copies, 1, 1)
        logits = output[:, 0].float() @ per_token.mT
        so_far = logits.tril().sum(-1) / torch.arange(1, logits.shape[-1] + 1, device=logits.device)
        query, key = self.query.to(logits.device), self.key.to(logits.device)
        return (logits[:, query, key] - so_far[:, query]).sum(-1) / self.divisor
