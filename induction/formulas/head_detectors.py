"""Head detectors: small functions of a pattern's rows that tell what a head does, such as attend to the token before.

Each takes some query rows of the patterns A of a batch, the positions of these queries, and the tokens:

* `pattern`: [batch, head, row, key], with all keys that the rows may attend to; it may end after them;
* `query`: [row], the position of each row;
* `tokens`: [batch, key], the token at each key.

It returns one number for each row, [batch, head, row], NaN for a query that does not count; a head's score on a
sequence is the mean over the queries that count. The first line of its docstring is the definition that results carry.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from headcount.remote_code import runs_remotely

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Bool, Float, Int
    from torch import Tensor

SINK_SHARE = 0.3
"""Attention to the first token above which a query counts as one that attends to it."""


@runs_remotely
def previous_token(
    pattern: Float[Tensor, "batch head row key"], query: Int[Tensor, " row"], tokens: Int[Tensor, "batch key"]
) -> Float[Tensor, "batch head row"]:
    """Attention to the token before the current one, A[j, j - 1]; mean over queries j > 1; 0 to 1."""
    return attention_back(pattern, query, 1)


@runs_remotely
def duplicate_token(
    pattern: Float[Tensor, "batch head row key"], query: Int[Tensor, " row"], tokens: Int[Tensor, "batch key"]
) -> Float[Tensor, "batch head row"]:
    """Summed attention to earlier occurrences of the current token; mean over queries that have some; 0 to 1."""
    return attention_to(pattern, earlier_occurrences(query, tokens))


@runs_remotely
def induction(
    pattern: Float[Tensor, "batch head row key"], query: Int[Tensor, " row"], tokens: Int[Tensor, "batch key"]
) -> Float[Tensor, "batch head row"]:
    """Summed attention to the tokens that followed earlier occurrences of the current one; mean over queries with some.

    The current token itself, which follows the one before where a token comes twice in a row, is none of them. On
    repeated random tokens this is prefix matching by its definition `successor`.
    """
    successors = earlier_occurrences(query, tokens).roll(1, -1)  # none is at the last key, which would come first
    return attention_to(pattern, successors & (torch.arange(tokens.shape[1], device=query.device) < query[:, None]))


@runs_remotely
def self_attention(
    pattern: Float[Tensor, "batch head row key"], query: Int[Tensor, " row"], tokens: Int[Tensor, "batch key"]
) -> Float[Tensor, "batch head row"]:
    """Attention to the current token itself, A[j, j]; mean over queries j > 0; 0 to 1."""
    return attention_back(pattern, query, 0)


@runs_remotely
def first_token(
    pattern: Float[Tensor, "batch head row key"], query: Int[Tensor, " row"], tokens: Int[Tensor, "batch key"]
) -> Float[Tensor, "batch head row"]:
    """Attention to the first token, the sink, A[j, 0]; mean over queries j > 0; 0 to 1."""
    return pattern[..., 0].masked_fill(query == 0, torch.nan)


@runs_remotely
def first_token_share(
    pattern: Float[Tensor, "batch head row key"], query: Int[Tensor, " row"], tokens: Int[Tensor, "batch key"]
) -> Float[Tensor, "batch head row"]:
    """Share of the queries j > 0 whose attention to the first token, A[j, 0], is above 0.3; 0 to 1."""
    return (pattern[..., 0] > SINK_SHARE).to(pattern.dtype).masked_fill(query == 0, torch.nan)


@runs_remotely
def entropy(
    pattern: Float[Tensor, "batch head row key"], query: Int[Tensor, " row"], tokens: Int[Tensor, "batch key"]
) -> Float[Tensor, "batch head row"]:
    """Entropy of attention as a share of the most that is possible, -Σ A log A / log(j + 1); mean over j > 0; 0 to 1.

    0: all on one key. 1: evenly on all keys up to the query itself. With the share, long and short sequences compare.
    """
    # Where everything is on one key the sum is -0.0.
    total = torch.special.entr(pattern).sum(-1).clamp_min(0.0)
    return (total / (query + 1).log()).masked_fill(query == 0, torch.nan)


@runs_remotely
def offset_two(
    pattern: Float[Tensor, "batch head row key"], query: Int[Tensor, " row"], tokens: Int[Tensor, "batch key"]
) -> Float[Tensor, "batch head row"]:
    """Attention to the token two positions back, A[j, j - 2]; mean over queries j > 2; 0 to 1."""
    return attention_back(pattern, query, 2)


DETECTORS = (
    previous_token,
    duplicate_token,
    induction,
    self_attention,
    first_token,
    first_token_share,
    entropy,
    offset_two,
)
"""The detectors of every atlas, in the order in which they are shown."""


@runs_remotely
def attention_back(
    pattern: Float[Tensor, "batch head row key"], query: Int[Tensor, " row"], back: int
) -> Float[Tensor, "batch head row"]:
    """Return the attention to the token so many positions back; NaN for queries that have none there but the first.

    Attention to the first token is a score of its own: with it, a head that always attends there would seem to attend
    back.
    """
    key = (query - back).clamp_min(0)
    weights = pattern.gather(-1, key[:, None].expand(*pattern.shape[:3], 1))[..., 0]
    return weights.masked_fill(query <= back, torch.nan)


@runs_remotely
def earlier_occurrences(query: Int[Tensor, " row"], tokens: Int[Tensor, "batch key"]) -> Bool[Tensor, "batch row key"]:
    """Return True for the keys before a query that hold its token."""
    key = torch.arange(tokens.shape[1], device=query.device)
    return (tokens[:, query, None] == tokens[:, None]) & (key < query[:, None])


@runs_remotely
def attention_to(
    pattern: Float[Tensor, "batch head row key"], keys: Bool[Tensor, "batch row key"]
) -> Float[Tensor, "batch head row"]:
    """Return the summed attention to some keys; NaN for queries that have none of them."""
    weights = (pattern * keys[:, None]).sum(-1)
    return weights.masked_fill(~keys.any(-1)[:, None], torch.nan)


@runs_remotely
def weighted_attention(
    positions: Callable[..., Any], pattern: Float[Tensor, "batch head row key"], query: Int[Tensor, " row"]
) -> Float[Tensor, "batch head row"]:
    """Return Σ_k A[j, k] w(j, k) for a function w of positions (query, key); NaN for queries whose w is 0 throughout.

    Keys after the query, to which nothing attends, do not count.
    """
    key = torch.arange(pattern.shape[-1], device=query.device)[None]
    weights = positions(query[:, None], key).to(pattern.dtype).masked_fill(key > query[:, None], 0.0)
    return (pattern * weights).sum(-1).masked_fill((weights == 0).all(-1), torch.nan)
