"""Retrieval heads: the heads that find what the model copies out of its context."""

from __future__ import annotations

import warnings

import torch

from headcount.induction.passes.retrieval import retrieval_pass
from headcount.induction.tokens.sampling import distinct_row, model_token_pool
from headcount.results import HeadScores, InputError
from headcount.results.internal import checks
from headcount.tracing import BatchSize, Model, Progress, provenance

DEFINITION = "share of the needle's tokens that the model produces and the head attends to most"


def retrieval(
    model: Model,
    n_sequences: int = 20,
    seed: int = 0,
    *,
    length: int = 200,
    needle: int = 8,
    batch_size: BatchSize = "auto",
    progress: Progress | None = None,
) -> HeadScores:
    """Score every head by how often it attends most to the token that the model copies out of a needle.

    A sequence has `length` distinct random tokens. The needle is one of them with the `needle` tokens that follow it,
    at depths evenly spread from one sequence to the next. The token comes again at the end, and the model continues;
    what it reads there are the needle's own tokens, so that one error does not make the next. The score is the share of
    the needle's tokens that the model produces (its likeliest token) while the head's largest weight of attention is on
    that very token. On random tokens it measures induction heads by their strongest key.

    Args:
        model: The model.
        n_sequences: The number of sequences.
        seed: Sequence s of a seed is always the same.
        length: The number of tokens that the needle is hidden among.
        needle: The number of tokens to be copied.
        batch_size: Sequences run together; "auto" fits it to the machine. It does not change the scores.
        progress: Called with the number of sequences done since the last call.

    Returns:
        Mean and unbiased variance over sequences, 0 to 1. `extras["attended"]` is the share if the model need not
        produce the token; `provenance["produced"]` is the share that it produces, which no score exceeds. One key among
        some `length` attended to by chance gives about 1 / `length`.

    Raises:
        InputError: A number is out of range, or the sequence does not fit the model.

    Source: Wu et al. 2024 (arXiv 2404.15574), retrieval score.
    """
    checks.check_count("n_sequences", n_sequences)
    checks.check_count("needle", needle)
    checks.check_count("length", length)
    if length < needle + 1:
        raise InputError(f"length: expected {needle + 1} tokens or more for a needle of {needle}, got {length}")
    pool, begin = model_token_pool(model), int(model.bos is not None)
    total = length + needle + begin
    if total > model.sizes.context or length > len(pool.ids):
        raise InputError(
            f"length: {total} tokens, {length} of them distinct, were requested; {model.name} takes "
            f"{model.sizes.context} and has {len(pool.ids)} to draw from: choose a smaller length"
        )
    depths = torch.linspace(0, length - needle - 1, n_sequences).round().long() + begin
    places = depths[:, None] + torch.arange(needle)
    drawn = torch.stack([distinct_row(model, pool, length, seed, number) for number in range(n_sequences)]).cpu()
    rows = torch.cat([drawn, drawn.gather(1, places)], dim=1)
    result = retrieval_pass(model, rows, places + 1, batch_size, progress)
    produced = float(result.produced.float().mean())
    if produced == 0:
        warnings.warn(
            f"{model.name} produces no token of any needle, so that every score is 0: see extras['attended']",
            stacklevel=2,
        )
    settings = {"seed": seed, "n_sequences": n_sequences, "length": length, "needle": needle, "produced": produced}
    return HeadScores(
        result.scores.mean(0),
        variance=result.scores.var(0) if n_sequences > 1 else None,
        n=n_sequences,
        measure="retrieval",
        definition=DEFINITION,
        extras={"attended": result.attended.mean(0)},
        provenance=provenance(model, **settings, token_source=pool.source, bos=model.bos),
    )
