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
"""A larger number is a slip of the pen: it would take days on any model."""


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


def spread_sequences(model: Model, pool: TokenPool, n_sequences: int) -> list[sequences.Sequence]:
    """Return the sequences that a model is scored on, with a warning if fewer fit than are requested.

    Raises:
        InputError: None fits, or too many are requested.
    """
    longest = min(model.sizes.context - (model.bos is not None), len(pool.ids))
    if n_sequences > MOST_SEQUENCES:
        raise InputError(f"expected {MOST_SEQUENCES:,} sequences at most, got {n_sequences:g}")
    chosen = sequences.spread(n_sequences, longest // REPEATS)
    if not chosen:
        raise InputError(
            f"no sequence fits {model.name}: the shortest has {REPEATS * sequences.SHORTEST} tokens, and "
            f"the context of {model.sizes.context} and the {len(pool.ids)} tokens to draw from allow {longest}"
        )
    if len(chosen) < n_sequences:
        warnings.warn(
            f"{n_sequences - len(chosen)} of {n_sequences} sequences are left out: {model.name} takes {longest} "
            "distinct tokens at most",
            stacklevel=3,
        )
    return chosen
