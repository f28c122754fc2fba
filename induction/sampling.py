"""Random tokens for a given model: from the middle of its tokenizer's frequency ranking, as long as its context."""

import warnings
from dataclasses import replace

import torch
from jaxtyping import Int
from torch import Tensor

from headcount.induction import prefix_score, sequences
from headcount.results import InputError
from headcount.tracing import Model
from headcount.tracing.token_pool import TokenPool, token_pool

MOST = 100_000
"""Sequences: the last of these would have 800,000 tokens."""


def repeated_tokens(model: Model, period: int, n_sequences: int = 1, seed: int = 0) -> Int[Tensor, "batch pos"]:
    """Random tokens repeated 4 times, as prefix matching takes them.

    Args:
        model: The model whose tokenizer they are drawn from: the middle of its frequency ranking.
        period: Length L of what is repeated.
        n_sequences: How many sequences.
        seed: Sequence s of a seed is always the same.

    Returns:
        Tokens [n_sequences, 4·L + 1] with BOS, or [n_sequences, 4·L] for a model that has none.

    Raises:
        InputError: A number is out of range, the sequence does not fit into the model's context, or there are too few
            tokens to draw from.
    """
    check_counts(n_sequences=n_sequences)
    pool = pool_of(model)
    rows = [repeats_of(model, pool, period, seed, index) for index in range(n_sequences)]
    return model.check_tokens(torch.stack(rows))


def distinct_tokens(model: Model, length: int, n_sequences: int = 1, seed: int = 0) -> Int[Tensor, "batch pos"]:
    """Random tokens without repetition, as copying takes them; BOS, where the model has one, comes in addition.

    Args, Returns and Raises as in `repeated_tokens`, with the number of tokens in place of a period.
    """
    check_counts(n_sequences=n_sequences)
    pool = pool_of(model)
    rows = [distinct_of(model, pool, length, seed, index) for index in range(n_sequences)]
    return model.check_tokens(torch.stack(rows))


def pool_of(model: Model) -> TokenPool:
    """The tokens to draw a model's sequences from.

    Raises:
        InputError: The model has no tokenizer.
    """
    if model.tokenizer is None:
        raise InputError(
            f"{model.name} was loaded without a tokenizer to draw tokens from: load_model(..., tokenizer=)"
        )
    pool = token_pool(model.tokenizer, model.sizes.vocab)
    return pool if model.bos is None else replace(pool, ids=pool.ids[pool.ids != model.bos])


def repeats_of(model: Model, pool: TokenPool, period: int, seed: int, index: int) -> Int[Tensor, " pos"]:
    """Sequence `index` of a seed for prefix matching."""
    return sequences.repeat_sequence(pool.ids, period, seed, index, model.bos, prefix_score.REPEATS)


def distinct_of(model: Model, pool: TokenPool, length: int, seed: int, index: int) -> Int[Tensor, " pos"]:
    """Sequence `index` of a seed for copying."""
    return sequences.distinct_sequence(pool.ids, length, seed, index, model.bos)


def fitting(model: Model, pool: TokenPool, n_sequences: int) -> tuple[list[int], list[int]]:
    """Which of the paper's sequences fit a model, and which are left out, with a warning.

    Raises:
        InputError: None fits, or more are asked for than any model could take.
    """
    longest = min(model.sizes.context - (model.bos is not None), len(pool.ids))
    if n_sequences > MOST:
        raise InputError(f"expected {MOST:,} sequences at most, each longer than the one before, got {n_sequences:g}")
    used = [index for index in range(n_sequences) if prefix_score.REPEATS * sequences.period(index) <= longest]
    left_out = list(range(len(used), n_sequences))
    if not used:
        raise InputError(
            f"no sequence fits {model.name}: the shortest has {prefix_score.REPEATS * sequences.period(0)} tokens, and "
            f"the context of {model.sizes.context} and the {len(pool.ids)} tokens to draw from allow {longest}"
        )
    if left_out:
        warnings.warn(
            f"{len(left_out)} of {n_sequences} sequences are left out: {model.name} takes {longest} distinct tokens "
            "at most",
            stacklevel=3,
        )
    return used, left_out


def check_counts(**counts: int) -> None:
    """Raises `InputError` for a count that is not a whole number of 1 or more."""
    for name, count in counts.items():
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise InputError(f"{name} must be a whole number of 1 or more, not {count!r}")
