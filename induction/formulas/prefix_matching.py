"""Prefix matching: how much a head attends to what followed the current token before.

A sequence is x, L tokens long, repeated four times, with or without BOS in front. A token's earlier occurrences are
L, 2L, ... positions back, and the token after such an occurrence is its successor. Every definition is a sum of
single entries of the pattern A[query, key], so that only these entries are ever computed.
"""

from typing import Literal, NamedTuple, get_args

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from headcount.results import InputError

REPEATS = 4

Definition = Literal["successor", "published", "entry-mean", "offset"]


class PatternEntries(NamedTuple):
    """Entries of an attention pattern, and the divisor of their sum: score = Σ A[query, key] / divisor."""

    query: Int64[Tensor, " pair"]
    key: Int64[Tensor, " pair"]
    divisor: int


def pattern_entries(period: int, bos: bool, definition: str = "successor") -> PatternEntries:
    """Return the entries that a definition sums, for one sequence.

    Token j (the first one after BOS is 1) has the successors j - kL + 1, k = 1 .. floor((j - 1) / L). With queries
    j = L + 1 .. 4L:

    * `successor`: mean over j of the sum over successors; 0 to 1 (Bansal et al. 2023, Algorithm 1, as meant);
    * `published`: the same, but where j is a multiple of L the token after BOS counts too, which follows no earlier
      occurrence (what the published code computes);
    * `entry-mean`: mean over all (j, successor) entries (Olsson et al. 2022);
    * `offset`: the latest successor alone, k = 1.

    Args:
        period: Length L of x.
        bos: True if BOS stands in front.
        definition: The entries that count, and how: one of the four.

    Raises:
        InputError: The definition is unknown.
    """
    if definition not in get_args(Definition):
        raise InputError(f"definition must be one of {', '.join(get_args(Definition))}, not {definition!r}")
    queries = torch.arange(period + 1, REPEATS * period + 1)
    back = torch.arange(1, 2 if definition == "offset" else REPEATS) * period
    query, shift = torch.meshgrid(queries, back, indexing="ij")
    real = query - shift >= 1
    query, key = query[real], (query - shift + 1)[real]
    if definition == "published":
        stray = torch.arange(2 * period, REPEATS * period + 1, period)
        query, key = torch.cat([query, stray]), torch.cat([key, torch.ones_like(stray)])
    divisor = len(query) if definition == "entry-mean" else len(queries)
    first = 0 if bos else 1  # the position of token j is j - first
    return PatternEntries(query - first, key - first, divisor)


def prefix_matching_score(
    pattern: Float[Tensor, "*batch query key"], period: int, definition: str = "successor"
) -> Float[Tensor, "*batch"]:
    """Return the prefix-matching score of each of some patterns.

    Args:
        pattern: Attention on 4·L + 1 tokens with BOS, or 4·L without.
        period: Length L of what is repeated.
        definition: As in `pattern_entries`.

    Raises:
        InputError: The pattern's size is not that of four repeats of this period.
    """
    entries = pattern_entries(period, has_bos(pattern.shape[-1], period), definition)
    return pattern[..., entries.query, entries.key].sum(-1) / entries.divisor


def has_bos(length: int, period: int) -> bool:
    """Return True if a repeated sequence of this length begins with BOS: 4L + 1 tokens with it, 4L without.

    Raises:
        InputError: It has neither length.
    """
    if period < 1 or length not in (REPEATS * period, REPEATS * period + 1):
        raise InputError(
            f"{length} tokens do not fit period {period}: expected {REPEATS} repeats, {REPEATS}·L + 1 tokens with BOS "
            f"or {REPEATS}·L without"
        )
    return length == REPEATS * period + 1
