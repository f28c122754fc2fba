"""The forward pass of the head atlas: every detector on every head; only some rows of a pattern exist at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from headcount.induction.formulas.head_detectors import weighted_attention
from headcount.remote_code import runs_remotely
from headcount.tracing.internal import Recorder, over_all_layers, pad, run_batches, to_device

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Float, Int
    from torch import Tensor

    from headcount.tracing import AttentionCall, BatchSize, Hook, Model, Progress
    from headcount.tracing.internal import Prepared

KEYS = 3
"""Keys that are recorded of the query at which a score is highest."""

EXAMPLE = 1 + 2 * KEYS
"""Numbers of an example: the query, and the `KEYS` keys that it attends to most, then their weights."""


@runs_remotely
class RecordDetectors(Recorder):
    """Records the scores of every head of a layer, [batch, head, score, number], and computes attention's output.

    The numbers are the score and, with examples, those of the query at which it is highest (see `EXAMPLE`).

    Args:
        detectors: Functions, each with True if it is one of positions.
        tokens: The tokens, padded on the right.
        lengths: The number of tokens of each sequence.
        examples: True to record the highest query, too.
    """

    def __init__(
        self,
        detectors: Sequence[tuple[Callable[..., Any], bool]],
        tokens: Int[Tensor, "batch pos"],
        lengths: Int[Tensor, " batch"],
        examples: bool,
    ) -> None:
        super().__init__()
        self.detectors, self.tokens, self.lengths, self.examples = list(detectors), tokens, lengths, examples

    def __call__(self, call: AttentionCall, hook: Hook) -> Tensor:
        """Record the scores; return attention's output."""
        outputs, values, finite, highest = [], [], [], None
        device = call.query.device
        tokens, lengths = self.tokens.to(device), self.lengths.to(device)
        for rows, pattern, output in call.by_rows(64 if device.type == "cpu" else 512):
            query = torch.arange(rows.start, rows.stop, device=device)
            padding = (query >= lengths[:, None])[:, None]
            values.append(self.by_row(pattern, query, tokens).masked_fill(padding[:, :, None], torch.nan))
            finite.append((0.0 * pattern[..., 0]).masked_fill(padding, 0.0))  # one NaN in a row makes all of it NaN
            if self.examples:
                highest = higher(highest, highest_row(values[-1], pattern, rows.start, KEYS))
            outputs.append(output)
        scores = torch.cat(values, -1).nanmean(-1) + torch.cat(finite, -1).sum(-1)[:, :, None]
        numbers = [scores[..., None]] if highest is None else [scores[..., None], highest[..., 1:]]
        self.records.append(torch.cat(numbers, -1).float().cpu())
        return torch.cat(outputs, 2)

    def by_row(self, pattern: Tensor, query: Tensor, tokens: Tensor) -> Float[Tensor, "batch head score row"]:
        """Return the number that each detector gives each row."""
        seen = tokens[:, : pattern.shape[-1]]
        values = [
            weighted_attention(function, pattern, query) if of_positions else function(pattern, query, seen)
            for function, of_positions in self.detectors
        ]
        return torch.stack([value.to(pattern.dtype) for value in values], 2)


@runs_remotely
def highest_row(
    values: Float[Tensor, "batch head score row"], pattern: Float[Tensor, "batch head row key"], start: int, keys: int
) -> Float[Tensor, "batch head score number"]:
    """Return, for the row of each score's highest value: value, query, the keys attended to most, and their weights.

    The value is -inf where no row counts; weights of keys that do not exist are 0.
    """
    value, row = values.nan_to_num(nan=-torch.inf).max(-1)
    attention = pattern.gather(2, row[..., None].expand(-1, -1, -1, pattern.shape[-1]))
    weight, key = attention.topk(min(keys, attention.shape[-1]), -1)
    weight, key = (torch.nn.functional.pad(part, (0, keys - part.shape[-1])) for part in (weight, key))
    return torch.cat([torch.stack([value, (row + start).to(value)], -1), key.to(value), weight], -1)


@runs_remotely
def higher(before: Tensor | None, now: Tensor) -> Tensor:
    """Return, of two rows of numbers, the one with the higher first number; the earlier one of equal ones."""
    return now if before is None else torch.where(now[..., :1] > before[..., :1], now, before)


def detectors_pass(
    model: Model,
    rows: Sequence[Int[Tensor, " pos"]],
    detectors: Sequence[tuple[Callable[..., Any], bool]],
    batch_size: BatchSize,
    progress: Progress | None = None,
    *,
    examples: bool = False,
) -> Float[Tensor, "sequence layer head score number"]:
    """Return the scores of every head on each sequence, NaN where no query counts; with examples, also their rows."""

    def prepare(batch: list[int]) -> Prepared[Tensor]:
        tokens = pad([rows[item] for item in batch], model.device)
        record = RecordDetectors(detectors, tokens, torch.tensor([len(rows[item]) for item in batch]), examples)
        hooks = [(f"blocks.{layer}.attn.call", record) for layer in model.layers_with_heads]
        forward = model.pass_until_last(tokens, hooks)
        return [forward], lambda _: list(torch.stack(to_device("cpu", record.records), dim=1))

    scores = torch.stack(run_batches(model, prepare, [len(row) for row in rows], batch_size, progress))
    return over_all_layers(model, scores, dim=1)
