"""The forward pass of the loss by repeat: losses leave the model, not logits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from headcount.induction.formulas.loss_by_repeat import loss_by_repeat, token_loss
from headcount.remote_code import runs_remotely
from headcount.tracing.internal import run_batches

if TYPE_CHECKING:
    from jaxtyping import Float32, Int
    from torch import Tensor

    from headcount.tracing import BatchSize, Hook, Model, Progress
    from headcount.tracing.internal import Prepared


@runs_remotely
class TokenLoss:
    """Turns logits into the loss of every token but the first."""

    def __init__(self, tokens: Int[Tensor, "batch pos"]) -> None:
        self.tokens = tokens

    def __call__(self, logits: Tensor, hook: Hook) -> Tensor:
        """Return the losses, on the CPU."""
        return token_loss(logits, self.tokens.to(logits.device)).cpu()


def repeat_loss_pass(
    model: Model,
    rows: Int[Tensor, "sequence pos"],
    period: int,
    bos: bool,
    batch_size: BatchSize,
    progress: Progress | None = None,
) -> Float32[Tensor, "sequence repeat"]:
    """Return the mean loss of each sequence on each repeat, in nats per token."""

    def prepare(batch: list[int]) -> Prepared[Tensor]:
        # Logits over the vocabulary outweigh everything else: a sequence at a time is as fast and takes least memory.
        parts = rows[batch].split(1 if batch_size == "auto" else len(batch))
        with torch.no_grad():
            passes = [model.pass_with(part, finish=TokenLoss(part)) for part in parts]
        return passes, lambda losses: list(loss_by_repeat(torch.cat(losses), period, bos))

    return torch.stack(run_batches(model, prepare, [rows.shape[1]] * len(rows), batch_size, progress))
