"""The size of what each head adds to the residual stream: a ranking that knows nothing of the task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor

from headcount.importance.attribution.gradients import FOLDS
from headcount.importance.documents import Example
from headcount.importance.evaluation import encode_examples
from headcount.importance.likelihoods.encoding import Encoding
from headcount.remote_code import runs_remotely
from headcount.results import HeadScores, InputError
from headcount.tracing import BatchSize, Hook, Model, Progress, Recorder, provenance
from headcount.tracing.internal import Prepared, over_all_layers, pad, run_batches


def activation_norms(
    model: Model,
    examples: Sequence[Example],
    *,
    encoding: Encoding = "joint",
    batch_size: BatchSize = "auto",
    progress: Progress | None = None,
) -> HeadScores:
    """Score every head by the mean length of what it adds to the residual stream, |z W_O|, over all positions.

    A control of rankings: it costs one forward pass and does not look at answers.

    Args:
        model: The model; parts that are removed at present stay removed.
        examples: Contexts with their gold continuations, whose last token is not read.
        encoding: The way in which text becomes tokens; `task.encoding` for a task's examples.
        batch_size: Examples run together.
        progress: Called after each batch with the number of examples in it.

    Returns:
        The mean over examples of each one's mean over positions, with variance over examples and folds.

    Raises:
        InputError: There is no example, or a continuation has no tokens.
    """
    if not examples:
        raise InputError("activation norms need at least one example")
    requests = encode_examples(model, examples, encoding)
    rows = [torch.tensor(request.ids[:-1]) for request in requests]
    layers = model.layers_with_heads

    def prepare(batch: list[int]) -> Prepared[Tensor]:
        chosen = [rows[index] for index in batch]
        longest = max(map(len, chosen))
        mask = torch.stack([torch.arange(longest) < len(row) for row in chosen])
        recorders = {f"blocks.{layer}.attn.hook_result": MeanNorm(mask) for layer in layers}
        forward = model.pass_until_last(pad(chosen, model.device), list(recorders.items()))

        def read(_: list[Any]) -> list[Tensor]:
            return list(torch.stack([recorder.records[0].cpu() for recorder in recorders.values()], dim=1))

        return [forward], read

    lengths = [len(row) for row in rows]
    norms = torch.stack(run_batches(model, prepare, lengths, batch_size, progress))
    values = over_all_layers(model, norms, 1, layers)
    n = len(values)
    return HeadScores(
        values.mean(0),
        variance=values.var(0) if n > 1 else None,
        n=n,
        folds=torch.stack([values[fold::FOLDS].mean(0) for fold in range(min(FOLDS, n))]),
        measure="activation_norm",
        definition="mean length of z W_O over positions",
        provenance=provenance(model, encoding=encoding, n_examples=n),
    )


@runs_remotely
class MeanNorm(Recorder):
    """Records the mean length of each head's output over the positions of each row, [batch, head].

    Args:
        mask: True at the positions that count, [batch, pos].
    """

    def __init__(self, mask: Bool[Tensor, "batch pos"]) -> None:
        super().__init__()
        self.mask = mask

    def __call__(self, value: Tensor, hook: Hook) -> None:
        """Record the mean length of [batch, pos, head, d_model]."""
        mask = self.mask.to(value.device)[..., None]
        lengths = value.detach().float().norm(dim=-1) * mask
        self.records.append(lengths.sum(1) / mask.sum(1))
