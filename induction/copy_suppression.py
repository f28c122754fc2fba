"""Copy suppression: the heads that lower the logits of tokens that are in the text and predicted again."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from headcount.induction.passes.copy_suppression import copy_suppression_pass
from headcount.results import HeadScores, InputError
from headcount.results.internal import checks
from headcount.tracing import BatchSize, Model, Progress, provenance
from headcount.tracing.internal import check_added_to_stream

DEFINITION = "logits by which the head lowers tokens of the text that are predicted again, mean over queries"


def copy_suppression(
    model: Model,
    tokens: Int[Tensor, "batch pos"] | Sequence[Int[Tensor, " pos"]],
    *,
    k: int = 10,
    n_queries: int = 16,
    batch_size: BatchSize = "auto",
    progress: Progress | None = None,
) -> HeadScores:
    """Score every head by how much it lowers the logits of tokens that it attends to and that are predicted already.

    A token of the text is predicted at a query if it is among the `k` likeliest by the residual stream that the head's
    layer reads there, through final norm and unembedding. The score is the mean over queries j of

        -Σ_i A[j, i] e(i)   over keys i <= j whose token is predicted at j,

    where e(i) is the direct effect on the logit of i's own token, above the mean over the vocabulary, when the head
    attends to i alone: W_U W_O v_i, divided by what the final norm divides by at j. Above 0 the head suppresses them,
    below 0 it copies them. Queries at which no token is predicted count 0.

    Args:
        model: The model; parts that are removed at present (`masked`) stay removed.
        tokens: Sequences of natural text, perhaps of several lengths. Random tokens predict nothing.
        k: The number of likeliest tokens that count as predicted.
        n_queries: The number of queries of a sequence, evenly spread: each takes an unembedding in every layer.
        batch_size: Sequences run together; "auto" fits it to the machine. It does not change the scores.
        progress: Called with the number of sequences done since the last call.

    Returns:
        Mean and unbiased variance over sequences, in logits. `extras["unpredicted"]` is the same sum over the other
        keys, and `extras["attention"]` the mean attention to the predicted ones.

    Raises:
        InputError: The tokens do not fit the model, a number is out of range, or what a head adds does not reach the
            logits as a sum: gates on the heads' outputs, norms or factors in the residual stream itself.

    Source: McDougall et al. 2023 (arXiv 2310.04625); this sum is the project's own.
    """
    checks.check_count("k", k)
    checks.check_count("n_queries", n_queries)
    rows = [model.check_tokens(torch.as_tensor(row)[None])[0] for row in tokens]
    if not rows or min(map(len, rows)) < 2:
        raise InputError("copy_suppression: expected sequences of 2 tokens or more")
    if k > model.sizes.vocab:
        raise InputError(f"k: expected at most {model.sizes.vocab}, the number of tokens, got {k}")
    check_added_to_stream(model)
    sums = copy_suppression_pass(model, rows, k, n_queries, batch_size, progress)
    scores, unpredicted, attention = sums.unbind(1)
    lengths = [len(row) for row in rows]
    return HeadScores(
        scores.mean(0),
        variance=scores.var(0) if len(rows) > 1 else None,
        n=len(rows),
        measure="copy_suppression",
        definition=DEFINITION,
        extras={"unpredicted": unpredicted.mean(0), "attention": attention.mean(0)},
        provenance=provenance(model, k=k, n_queries=n_queries, n_tokens=[min(lengths), max(lengths)]),
    )
