"""Examples from the whole distribution of a score: the sequences at which a head is highest, and at percentiles."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int, Int64
from torch import Tensor

from headcount.induction.passes.atlas import KEYS
from headcount.results import TextExamples
from headcount.tracing import Model

PERCENTILES = (1.0, 0.9, 0.5, 0.1)
"""The levels of examples, as `headcount.results.internal.LEVELS` names them; the first is the highest."""


def text_examples(
    model: Model,
    rows: Sequence[Int[Tensor, " pos"]],
    names: Sequence[str],
    numbers: Float[Tensor, "sequence layer head score number"],
) -> TextExamples:
    """Choose the examples of every head and score from what a pass recorded.

    Args:
        model: The model, for the texts of tokens.
        rows: The sequences.
        names: The names of the scores.
        numbers: The numbers of `detectors_pass` with examples.
    """
    order = [sequences_at_levels(numbers[..., score, 0]) for score in range(len(names))]
    chosen = torch.stack(order)  # [score, level, layer, head]
    by_score = numbers.permute(3, 0, 1, 2, 4)  # [score, sequence, layer, head, number]
    index = chosen.clamp_min(0)[..., None].expand(*chosen.shape, by_score.shape[-1])
    picked = by_score.gather(1, index)
    missing = chosen < 0
    sequence = chosen.float().masked_fill(missing, torch.nan)
    vocabulary, tokens = _texts(model, rows, set(chosen[~missing].tolist()))
    return TextExamples(
        tuple(names),
        sequence,
        picked[..., 0],
        picked[..., 1],
        picked[..., 2 : 2 + KEYS],
        picked[..., 2 + KEYS :],
        vocabulary,
        tokens,
    )


def sequences_at_levels(scores: Float[Tensor, "sequence layer head"]) -> Int64[Tensor, "level layer head"]:
    """Return the sequence at each of `PERCENTILES` of each head's scores; -1 for a head that was not measured.

    Of n sequences that were measured in the order of their scores, the one at percentile p is number round(p (n - 1)).
    """
    order = scores.nan_to_num(nan=-torch.inf).sort(dim=0, stable=True).indices
    measured = (~scores.isnan()).sum(0)
    missing = len(scores) - measured
    places = [missing + ((measured - 1) * share).round().long() for share in PERCENTILES]
    return torch.stack(
        [order.gather(0, place.clamp(0, len(scores) - 1)[None])[0].masked_fill(measured == 0, -1) for place in places]
    )


def _texts(
    model: Model, rows: Sequence[Int[Tensor, " pos"]], shown: set[int]
) -> tuple[tuple[str, ...], Float[Tensor, "sequence pos"]]:
    """Return the distinct texts of tokens, and each sequence's tokens as numbers of these; -1 for what is not shown."""
    numbers: dict[str, int] = {}
    tokens = torch.full((len(rows), max(map(len, rows))), -1.0)
    for sequence in sorted(shown):
        row = rows[sequence]
        texts = [str(token) for token in row.tolist()] if model.tokenizer is None else model.to_str_tokens(row)
        tokens[sequence, : len(row)] = torch.tensor([numbers.setdefault(text, len(numbers)) for text in texts]).float()
    return tuple(numbers), tokens
