"""The forward pass that records the attention pattern of every head."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from headcount.remote_code import runs_remotely
from headcount.results.internal import levels
from headcount.tracing.internal import Recorder

if TYPE_CHECKING:
    from jaxtyping import Int, UInt8
    from torch import Tensor

    from headcount.tracing import Hook, Model


@runs_remotely
class RecordPattern(Recorder):
    """Records every layer's patterns of one sequence in 256 levels."""

    def __call__(self, pattern: Tensor, hook: Hook) -> None:
        """Record the levels, on the CPU."""
        self.records.append(levels(pattern[0].detach().float()).cpu())


def patterns_pass(model: Model, tokens: Int[Tensor, "1 pos"]) -> UInt8[Tensor, "layer head query key"]:
    """Return every head's pattern in 256 levels; only one layer's patterns at a time are held as numbers."""
    record = RecordPattern()
    layers = model.layers_with_heads
    model.run_until_last(tokens, [(f"blocks.{layer}.attn.hook_pattern", record) for layer in layers])
    recorded = torch.stack(record.records)
    patterns = recorded.new_zeros(
        (model.sizes.n_layers, *recorded.shape[1:])
    )  # a layer without heads attends to nothing
    patterns[layers] = recorded
    return patterns
