"""The forward pass of retrieval; its hooks travel to wherever the model is (see `headcount.remote_code`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

from headcount.induction.formulas.retrieval import retrieval_score
from headcount.remote_code import runs_remotely
from headcount.tracing.internal import Recorder, over_all_layers, run_batches, to_device

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from torch import Tensor

    from headcount.tracing import AttentionCall, BatchSize, Hook, Model, Progress
    from headcount.tracing.internal import Prepared


class Retrieved(NamedTuple):
    """Retrieval on some sequences.

    Attributes:
        scores: The score of each head: tokens of the needle that the model produces, and the head attends to most.
        attended: The same whether or not the model produces them.
        produced: True for the tokens of the needle that the model produces.
    """

    scores: Float[Tensor, "sequence layer head"]
    attended: Float[Tensor, "sequence layer head"]
    produced: Bool[Tensor, "sequence query"]


@runs_remotely
class RecordAttended(Recorder):
    """Records the key to which each of the last queries attends most, [batch, head, query], and computes attention."""

    def __init__(self, queries: int) -> None:
        super().__init__()
        self.queries = queries

    def __call__(self, call: AttentionCall, hook: Hook) -> Tensor:
        """Record the keys; return attention's output."""
        length = call.query.shape[2]
        self.records.append(call.scores(slice(length - self.queries, length)).argmax(-1))
        return call.attend().output


@runs_remotely
class LikeliestToken:
    """Turns logits into the likeliest tokens."""

    def __call__(self, logits: Tensor, hook: Hook) -> Tensor:
        """Return the tokens, on the CPU."""
        return logits.argmax(-1).cpu()


def retrieval_pass(
    model: Model,
    rows: Int[Tensor, "sequence pos"],
    needle: Int[Tensor, "sequence query"],
    batch_size: BatchSize,
    progress: Progress | None = None,
) -> Retrieved:
    """Return the retrieval of every head: at the last queries the tokens at the places `needle` are to be copied."""
    count, length = needle.shape[1], rows.shape[1]
    answers = rows.gather(1, needle)

    def prepare(batch: list[int]) -> Prepared[tuple[Tensor, Tensor]]:
        record = RecordAttended(count)
        row = torch.arange(len(batch)).repeat_interleave(count)
        pos = torch.arange(length - count, length).repeat(len(batch))
        hooks = [(f"blocks.{layer}.attn.call", record) for layer in model.layers_with_heads]
        with torch.no_grad():
            forward = model.pass_at(rows[batch].to(model.device), row, pos, hooks, LikeliestToken())

        def read(outputs: list[Tensor]) -> list[tuple[Tensor, Tensor]]:
            attended = torch.stack(to_device("cpu", record.records), dim=1)
            produced = outputs[0].reshape(len(batch), count) == answers[batch]
            return list(zip(attended, produced, strict=True))

        return [forward], read

    by_sequence = run_batches(model, prepare, [length] * len(rows), batch_size, progress)
    attended, produced = (torch.stack(part) for part in zip(*by_sequence, strict=True))
    of_layers = attended.flatten(1, 2)  # layers and heads as one axis
    shape = (len(rows), *attended.shape[1:3])
    scores = retrieval_score(of_layers, needle, produced).reshape(shape)
    anyway = retrieval_score(of_layers, needle).reshape(shape)
    return Retrieved(over_all_layers(model, scores, 1), over_all_layers(model, anyway, 1), produced)
