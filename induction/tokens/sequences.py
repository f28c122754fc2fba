"""Sequences of random tokens: repeats for prefix matching, distinct tokens for copying (Bansal et al. 2023).

Tokens are drawn uniformly without replacement from a pool of token ids. Every draw has a random stream of its own,
named by seed, sequence index and purpose, so that a sequence does not depend on the others that are drawn, nor on the
order in which they are.
"""

from enum import IntEnum

import numpy as np
import torch
from jaxtyping import Int, Int64
from torch import Tensor

from headcount.results import InputError
from headcount.results.internal import checks


class Purpose(IntEnum):
    """The measure that a sequence is drawn for; purposes share no random stream."""

    REPEAT = 0
    DISTINCT = 1


def period(index: int) -> int:
    """Return the number of tokens after which sequence `index` repeats: 25 + 2·index.

    The paper's hundred sequences, index 0 to 99, have periods of 25 to 223.

    Raises:
        InputError: `index` is negative.
    """
    _require(index >= 0, "a sequence index of 0 or more", index, "count the sequences from 0")
    return 25 + 2 * index


def repeat_sequence(
    pool: Int[Tensor, " token"], period: int, seed: int, index: int, bos: int | None = None, repeats: int = 4
) -> Int64[Tensor, " pos"]:
    """Draw `period` distinct tokens and repeat them: [BOS +] x x x x, as prefix matching takes them.

    Args:
        pool: Distinct token ids to draw from, BOS not among them.
        period: Length of x.
        seed: The study's seed, 0 or more.
        index: The sequence's number, 0 or more.
        bos: Beginning-of-sequence token to put first; None for a model that has none.
        repeats: The number of times that x stands in the sequence.

    Returns:
        Token ids; pos = period·repeats, and one more with BOS.

    Raises:
        InputError: A number is out of range, or the pool is too small, repeats itself or holds BOS.
    """
    _require(repeats > 0, "1 repeat or more", repeats, "pass a positive number of repeats")
    return _after_bos(draw_tokens(pool, period, seed, index, Purpose.REPEAT).repeat(repeats), pool, bos)


def distinct_sequence(
    pool: Int[Tensor, " token"], length: int, seed: int, index: int, bos: int | None = None
) -> Int64[Tensor, " pos"]:
    """Draw `length` distinct tokens: [BOS +] x, as copying takes them; the paper draws 4 periods.

    Args:
        pool: Distinct token ids to draw from, BOS not among them.
        length: The number of tokens, BOS not counted.
        seed: The study's seed, 0 or more.
        index: The sequence's number, 0 or more.
        bos: Beginning-of-sequence token to put first; None for a model that has none.

    Returns:
        Token ids; pos = length, and one more with BOS.

    Raises:
        InputError: A number is out of range, or the pool is too small, repeats itself or holds BOS.
    """
    return _after_bos(draw_tokens(pool, length, seed, index, Purpose.DISTINCT), pool, bos)


def draw_tokens(
    pool: Int[Tensor, " token"], count: int, seed: int, index: int, purpose: Purpose
) -> Int64[Tensor, " {count}"]:
    """Draw `count` tokens of the pool, uniformly and without replacement.

    Every token of the pool gets a random 64-bit key, and the tokens with the `count` smallest keys are taken, smallest
    first. The keys are a bit generator's raw output, which NumPy promises never to change (it makes no such promise for
    `Generator.choice`).

    Args:
        pool: Distinct token ids.
        count: The number of tokens to draw.
        seed: The study's seed, 0 or more.
        index: The sequence's number, 0 or more.
        purpose: The measure that it is drawn for.

    Returns:
        Distinct token ids, in random order.

    Raises:
        InputError: A number is out of range, or the pool is too small or repeats itself.
    """
    _check_draw(pool, count, seed, index)
    stream = np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(index, int(purpose))))
    order = np.argsort(stream.random_raw(len(pool)), kind="stable")
    return pool.long()[torch.from_numpy(order[:count]).to(pool.device)]


def _after_bos(tokens: Int64[Tensor, " length"], pool: Int[Tensor, " token"], bos: int | None) -> Int64[Tensor, " pos"]:
    if bos is None:
        return tokens
    _require(
        not bool((pool == bos).any()), "a pool without the BOS token", f"one with token {bos}", "take BOS out of it"
    )
    return torch.cat([tokens.new_tensor([bos]), tokens])


def _check_draw(pool: Int[Tensor, " token"], count: int, seed: int, index: int) -> None:
    _require(count > 0, "1 token or more to draw", count, "pass a positive number of tokens")
    checks.check_seed(seed)
    _require(index >= 0, "a sequence index of 0 or more", index, "count the sequences from 0")
    _require(
        count <= len(pool),
        f"a pool of at least {count} tokens",
        len(pool),
        "draw a shorter sequence or take a tokenizer with more tokens",
    )
    distinct = len(set(pool.tolist()))
    _require(
        distinct == len(pool), "a pool of distinct tokens", f"{distinct} of {len(pool)}", "leave out the repeated ones"
    )


def _require(holds: bool, expected: str, got: object, advice: str) -> None:
    if not holds:
        raise InputError(f"expected {expected}, got {got}: {advice}")
