"""The forward pass of prefix matching: only the entries of the patterns that count are computed.

The hook travels to wherever the model is (see `headcount.remote_code`); its records come back.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from headcount.induction.formulas.prefix_matching import PatternEntries, has_bos, pattern_entries
from headcount.remote_code import runs_remotely
from headcount.tracing.internal import Recorder, over_all_layers, pad, run_batches, to_device

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

    from headcount.tracing import AttentionCall, BatchSize, Hook, Model, Progress
    from headcount.tracing.internal import Prepared


@runs_remotely
class RecordPrefixMatching(Recorder):
    """Records the prefix matching of every head of a layer, [batch, head], and computes attention's output."""

    def __init__(self, query: Tensor, key: Tensor, real: Tensor, divisor: Tensor) -> None:
        super().__init__()
        self.query, self.key, self.real, self.divisor = query, key, real, divisor

    def __call__(self, call: AttentionCall, hook: Hook) -> Tensor:
        """Record the scores; return attention's output."""
        output, log_sum_exp = call.attend()
        device = output.device
        attention = call.entries(self.query.to(device), self.key.to(device), log_sum_exp)
        attention = attention * self.real.to(device)[:, None]
        self.records.append(attention.sum(-1) / self.divisor.to(device))
        return output


def prefix_matching_pass(
    model: Model,
    rows: Sequence[Int[Tensor, " pos"]],
    periods: Sequence[int],
    definition: str,
    batch_size: BatchSize,
    progress: Progress | None = None,
) -> Float[Tensor, "sequence layer head"]:
    """Return the prefix matching of each sequence, which has a period of its own."""
    entries = [
        pattern_entries(period, has_bos(len(row), period), definition)
        for row, period in zip(rows, periods, strict=True)
    ]

    def prepare(batch: list[int]) -> Prepared[Tensor]:
        record = _recorder([entries[item] for item in batch], model.device)
        hooks = [(f"blocks.{layer}.attn.call", record) for layer in model.layers_with_heads]
        forward = model.pass_until_last(pad([rows[item] for item in batch], model.device), hooks)
        return [forward], lambda _: list(torch.stack(to_device("cpu", record.records), dim=1))

    scores = torch.stack(run_batches(model, prepare, [len(row) for row in rows], batch_size, progress))
    return over_all_layers(model, scores, dim=1)


def _recorder(entries: Sequence[PatternEntries], device: torch.device) -> RecordPrefixMatching:
    """Return the hook for a batch: entries padded to one number, padding marked as not real."""
    columns = [(part.query, part.key, torch.ones_like(part.query, dtype=torch.bool)) for part in entries]
    query, key, real = (pad(column, device) for column in zip(*columns, strict=True))
    divisor = torch.tensor([part.divisor for part in entries], device=device)[:, None]
    return RecordPrefixMatching(query, key, real, divisor)
