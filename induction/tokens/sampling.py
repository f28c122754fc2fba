"""Random tokens for a given model: from the middle of its tokenizer's frequency ranking, as long as its context."""

import warnings
from dataclasses import replace

import torch
from jaxtyping import Int
from torch import Tensor

from headcount.induction.formulas.prefix_matching import REPEATS
from headcount.induction.tokens import sequences
from headcount.results import InputError
from headcount.results.internal import checks
from headcount.tracing import Model
from headcount.tracing.internal import TokenPool, token_pool

MOST_SEQUENCES = 100_000
"""The last of these would have 800,000 tokens."""


def repeated_tokens(model: Model, period: int, n_sequences: int = 1, seed: int = 0) -> Int[Tensor, "batch pos"]:
    """Draw random tokens and repeat them 4 times, as prefix matching takes them.

    Args:
        model: The model whose tokenizer they are drawn from: the middle of its frequency ranking.
        period: Length L of what is repeated.
        n_sequences: The number of sequences.
        seed: Sequence s of a seed is always the same.

    Returns:
        Tokens [n_sequences, 4·L + 1] with BOS, or [n_sequences, 4·L] for a model that has none.

    Raises:
        InputError: A number is out of range, the sequence does not fit into the model's context, or there are too few
            tokens to draw from.
    """
    checks.check_count("n_sequences", n_sequences)
    pool = model_token_pool(model)
    rows = [repeated_row(model, pool, period, seed, index) for index in range(n_sequences)]
    return model.check_tokens(torch.stack(rows))


def distinct_tokens(model: Model, length: int, n_sequences: int = 1, seed: int = 0) -> Int[Tensor, "batch pos"]:
    """Draw random tokens without repetition, as copying takes them; BOS, where the model has one, comes in addition.

    Args, Returns and Raises as in `repeated_tokens`, with the number of tokens in place of a period.
    """
    checks.check_count("n_sequences", n_sequences)
    pool = model_token_pool(model)
    rows = [distinct_row(model, pool, length, seed, index) for index in range(n_sequences)]
    return model.check_tokens(torch.stack(rows))


def model_token_pool(model: Model) -> TokenPool:
    """Return the tokens that a model's sequences are drawn from.

    Raises:
        InputError: The model has no tokenizer.
    """
    if model.tokenizer is None:
        raise InputError(
            f"{model.name} was loaded without a tokenizer to draw tokens from: load_model(..., tokenizer=)"
        )
    pool = token_pool(model.tokenizer, model.sizes.vocab)
    return pool if model.bos is None else replace(pool, ids=pool.ids[pool.ids != model.bos])


def repeated_row(model: Model, pool: TokenPool, period: int, seed: int, index: int) -> Int[Tensor, " pos"]:
    """Return sequence `index` of a seed for prefix matching."""
    return sequences.repeat_sequence(pool.ids, period, seed, index, model.bos, REPEATS)


def distinct_row(model: Model, pool: TokenPool, length: int, seed: int, index: int) -> Int[Tensor, " pos"]:
    """Return sequence `index` of a seed for copying."""
    return sequences.distinct_sequence(pool.ids, length, seed, index, model.bos)


def fitting_sequences(model: Model, pool: TokenPool, n_sequences: int) -> tuple[list[int], list[int]]:
    """Return the indices of the paper's sequences that fit a model, and of those left out, with a warning.

    Raises:
        InputError: None fits, or more are requested than any model could take.
    """
    longest = min(model.sizes.context - (model.bos is not None), len(pool.ids))
    if n_sequences > MOST_SEQUENCES:
        raise InputError(
            f"expected {MOST_SEQUENCES:,} sequences at most, each longer than the one before, got {n_sequences:g}"
        )
    used = [index for index in range(n_sequences) if REPEATS * sequences.period(index) <= longest]
    left_out = list(range(len(used), n_sequences))
    if not used:
        raise InputError(
            f"no sequence fits {model.name}: the shortest has {REPEATS * sequences.period(0)} tokens, and "
            f"the context of {model.sizes.context} and the {len(pool.ids)} tokens to draw from allow {longest}"
        )
    if left_out:
        warnings.warn(
            f"{len(left_out)} of {n_sequences} sequences are left out: {model.name} takes {longest} distinct tokens "
            "at most",
            stacklevel=3,
        )
    return used, left_out
