"""The forward pass of succession: one token at a time, every layer reads the embedding after the first network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from headcount.remote_code import runs_remotely
from headcount.tracing.internal import (
    Recorder,
    added_heads,
    centred_unembedding,
    over_all_layers,
    pass_through,
    run_batches,
    to_device,
)

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

    from headcount.tracing import AttentionCall, BatchSize, Hook, Model
    from headcount.tracing.internal import Prepared


@runs_remotely
class RecordWritten(Recorder):
    """Records the logits that each head writes for some tokens when it attends to the last token, [batch, head, token].

    Attention itself adds nothing, and from the second layer on all read what the first block gives then.
    """

    def __init__(self, candidates: Int[Tensor, " token"]) -> None:
        super().__init__()
        self.candidates = candidates
        self.stream: Any = None
        self.unembedding: Any = None

    def replace_stream(self, resid: Tensor, hook: Hook) -> Tensor | None:
        """Hold the input of the second block, and put it in the place of later ones."""
        if self.stream is None:
            self.stream = resid
            return None
        return self.stream.to(resid.device)

    def __call__(self, call: AttentionCall, hook: Hook) -> Tensor:
        """Record the logits; the heads give zeros."""
        device, n_heads = call.query.device, call.query.shape[1]
        if self.unembedding is None:
            self.unembedding = centred_unembedding(hook.model, self.candidates[None])[0]
        w_o, _ = added_heads(hook.model, hook.layer())
        value = call.value[:, :, -1].float().repeat_interleave(n_heads // call.value.shape[1], 1)
        written = torch.einsum("bhd,hdm->bhm", value, w_o.to(device))
        self.records.append(written @ self.unembedding.to(device).T)
        return call.query.new_zeros(()).expand(*call.query.shape[:3], call.value.shape[-1])


def written_logits(
    model: Model, tokens: Int[Tensor, " token"], batch_size: BatchSize = "auto"
) -> Float[Tensor, "token layer head token"]:
    """Return the logits of all tokens that every head writes when it attends to each, up to a positive factor."""
    begin = [] if model.bos is None else [torch.full((len(tokens), 1), model.bos)]
    rows = torch.cat([*begin, tokens.cpu()[:, None]], dim=1)

    def prepare(batch: list[int]) -> Prepared[Tensor]:
        record = RecordWritten(tokens)
        forward = model.pass_until_last(rows[batch].to(model.device), _hooks(model, record))
        return [forward], lambda _: list(torch.stack(to_device("cpu", record.records), dim=1))

    logits = torch.stack(run_batches(model, prepare, [rows.shape[1]] * len(rows), batch_size))
    return over_all_layers(model, logits, dim=1)


def _hooks(model: Model, record: RecordWritten) -> list[tuple[str, Any]]:
    hooks: list[tuple[str, Any]] = []
    last = model.layers_with_heads[-1]
    for layer in range(last + 1):
        block = f"blocks.{layer}."
        if layer:
            hooks.append((f"{block}hook_resid_pre", record.replace_stream))
        if model.paths(layer).attention:
            hooks.append((f"{block}attn.call", record))
        if 0 < layer < last:
            hooks += [(name, pass_through) for name in model.hooks if name.startswith(f"{block}mlp.skip_")]
    return hooks
