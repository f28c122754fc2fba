"""The forward passes of one head's profile: its pattern, and the logits that it writes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from headcount.induction.formulas.head_logits import HeadUnembedding, LogitEffects, logit_effects, project_unembedding
from headcount.remote_code import runs_remotely
from headcount.results import InputError
from headcount.tracing.internal import Recorder, output_heads, pass_through, unembedding

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

    from headcount.tracing import AttentionCall, Hook, Model

_ROWS_AT_ONCE = 1 << 13
"""Rows of the unembedding held in float32 at a time."""
_LOGITS_AT_ONCE = 1 << 24
"""Logits [source, vocab] held at a time, 64 MiB of them."""


def head_pattern(model: Model, ids: Int[Tensor, "1 pos"], layer: int, head: int) -> Float[Tensor, "query key"]:
    """Return one head's pattern in the model as it runs."""
    record = RecordHeadPattern(head)
    model.run_until_last(ids, [(f"blocks.{layer}.attn.call", record)])
    (pattern,) = record.records
    return pattern


def head_effects(
    model: Model, ids: Int[Tensor, "1 pos"], layer: int, head: int, places: Int[Tensor, " source"], k: int
) -> LogitEffects:
    """Return the logits that a head writes for the tokens at these places, with the embeddings as its input."""
    if model.paths(layer).gated:
        raise InputError(
            f"a gate that depends on the text multiplies what the heads of {model.name} give: which logits a head "
            "writes for a token is not fixed; hooks on attn.hook_result show what it adds in a text"
        )
    record = RecordLogitEffects(head, places, ids[0, places], k)
    skip_earlier = [(f"blocks.{earlier}.skip", pass_through) for earlier in range(layer)]
    model.run_until_last(ids, [*skip_earlier, (f"blocks.{layer}.attn.call", record)])
    return LogitEffects(*record.records[0])


@runs_remotely
class RecordHeadPattern(Recorder):
    """Records one head's pattern, [query, key] in float32."""

    def __init__(self, head: int) -> None:
        super().__init__()
        self.head = head

    def __call__(self, call: AttentionCall, hook: Hook) -> Tensor:
        """Record the pattern, on the CPU."""
        of_head = call.of_heads(torch.tensor([self.head]))
        self.records.append(of_head.softmax(of_head.scores().float())[0, 0].cpu())
        return call.query  # never used: the pass ends here


@runs_remotely
class RecordLogitEffects(Recorder):
    """Records the logits that one head writes for some tokens, as from `logit_effects`."""

    def __init__(self, head: int, places: Int[Tensor, " source"], sources: Int[Tensor, " source"], k: int) -> None:
        super().__init__()
        self.head, self.places, self.sources, self.k = head, places, sources, k

    def __call__(self, call: AttentionCall, hook: Hook) -> Tensor:
        """Record the effects, on the CPU, computed for some of the tokens at a time."""
        value = call.of_heads(torch.tensor([self.head])).value[0, 0].float()
        values, sources = value[self.places.to(value.device)], self.sources.to(value.device)
        whole = vocabulary_unembedding(hook.model, hook.layer(), self.head, value.device)
        size = max(1, _LOGITS_AT_ONCE // hook.model.sizes.vocab)
        parts = [
            logit_effects(some_values, some_sources, whole, self.k)
            for some_values, some_sources in zip(values.split(size), sources.split(size), strict=True)
        ]
        self.records.append([torch.cat(part).cpu() for part in zip(*parts, strict=True)])
        return call.query  # never used: the pass ends here


@runs_remotely
def vocabulary_unembedding(model: Any, layer: int, head: int, device: torch.device) -> HeadUnembedding:
    """Return the unembedding of the whole vocabulary in one head's own space, formed a few thousand rows at a time."""
    w_o, b_o = output_heads(model, layer)
    parts: list[HeadUnembedding] = []
    for tokens in torch.arange(model.sizes.vocab).split(_ROWS_AT_ONCE):
        rows, bias = unembedding(model, tokens[None])
        part = project_unembedding(rows.to(device), bias.to(device), w_o[head : head + 1].to(device), b_o.to(device))
        parts.append(part)
    return HeadUnembedding(
        torch.cat([part.per_head for part in parts], dim=2), torch.cat([part.constant for part in parts], dim=1)
    )
