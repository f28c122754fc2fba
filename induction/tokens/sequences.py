"""Sequences of random tokens: repeats for prefix matching, distinct tokens for copying (Bansal et al. 2023).

Tokens are drawn uniformly without replacement from a pool of token ids. Every draw has a random stream of its own,
named by seed, sequence index and purpose, so that a sequence does not depend on the others that are drawn, nor on the
order in which they are.
"""

from enum import IntEnum
from typing import NamedTuple

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


N_PERIODS = 100
"""The number of periods in the paper, whose sequence s of 100 repeats after 25 + 2·s tokens: 25 to 223."""

SHORTEST = 25


def period(index: int) -> int:
    """Return the number of tokens after which sequence `index` of the paper repeats: 25 + 2·index.

    Raises:
        InputError: `index` is negative.
    """
    _require(index >= 0, "a sequence index of 0 or more", index, "count the sequences from 0")
    return SHORTEST + 2 * index


class Sequence(NamedTuple):
    """One sequence of random tokens.

    Attributes:
        number: Its number, which names its random stream.
        period: The number of tokens after which it repeats.
    """

    number: int
    period: int


def spread(n_sequences: int, longest_period: int) -> list[Sequence]:
    """Return sequences whose periods are spread evenly over the paper's, 25 to 223, as far as they fit.

    Scores depend on the period, so that the range must not depend on the number of sequences. A hundred sequences are
    the paper's, 25 + 2·s for s = 0 to 99; fewer are an even choice of them (the shortest and the longest are among
    them; a single one is the middle one), each with the tokens that it has among the hundred; more repeat periods.

    Args:
        n_sequences: The number of sequences.
        longest_period: The longest period that fits.

    Returns:
        The sequences, the shortest first: fewer than requested where so many different periods do not fit, none if no
        period does.
    """
    fitting = sum(period(number) <= longest_period for number in range(N_PERIODS))
    if n_sequences > N_PERIODS:
        numbers = _evenly(n_sequences, N_PERIODS)
        return [Sequence(index, period(number)) for index, number in enumerate(numbers) if number < fitting]
    return [Sequence(number, period(number)) for number in _evenly(min(n_sequences, fitting), fitting)]


def _evenly(count: int, among: int) -> list[int]:
    """Return whole numbers below `among`, evenly spread from the first to the last; the middle one if it is one."""
    if count == 1:
        return [(among - 1) // 2]
    return [round(place * (among - 1) / (count - 1)) for place in range(count)]


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
