"""Logits that one head writes: the unembedding in a head's own space, and the tokens that a head raises and lowers."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from headcount.remote_code import runs_remotely


@runs_remotely
class HeadUnembedding:
    """The unembedding of some tokens in the space of each of a layer's heads.

    Attributes:
        per_head: W_O[head] W_U[t] for the token t at each position.
        constant: The logits that every head writes alike: b_O W_U[t] + b_U[t].
    """

    def __init__(self, per_head: Float[Tensor, "batch head key d_head"], constant: Float[Tensor, "batch key"]) -> None:
        self.per_head, self.constant = per_head, constant


class LogitEffects(NamedTuple):
    """The logits that a head writes when it attends to one token alone, for each of some tokens.

    Attributes:
        raised: The k tokens whose logits it raises most.
        raised_logits: Their logits.
        lowered: The k tokens whose logits it lowers most.
        lowered_logits: Their logits.
        own_logit: The logit of the token attended to.
        own_rank: Its rank among all tokens, 1 for the highest.
    """

    raised: Int64[Tensor, "source k"]
    raised_logits: Float[Tensor, "source k"]
    lowered: Int64[Tensor, "source k"]
    lowered_logits: Float[Tensor, "source k"]
    own_logit: Float[Tensor, " source"]
    own_rank: Int64[Tensor, " source"]


@runs_remotely
def project_unembedding(
    unembed: Float[Tensor, "batch key d_model"],
    unembed_bias: Float[Tensor, "batch key"],
    w_o: Float[Tensor, "head d_head d_model"],
    b_o: Float[Tensor, " d_model"],
) -> HeadUnembedding:
    """Bring the unembedding of some tokens into each head's own space."""
    return HeadUnembedding(torch.einsum("bkm,hdm->bhkd", unembed, w_o), unembed @ b_o + unembed_bias)


@runs_remotely
def logit_effects(
    values: Float[Tensor, "source d_head"], sources: Int64[Tensor, " source"], unembedding: HeadUnembedding, k: int
) -> tuple[Tensor, ...]:
    """Return the logits that a head raises and lowers most when it attends to one token alone.

    With the same output as in the copying score, o = W_O (W_V x + b_V) + b_O for the token's normed embedding x:
    logit[t] = o W_U[t] + b_U[t], less the mean over the vocabulary, since only differences of logits matter.

    Args:
        values: W_V x + b_V of each token attended to.
        sources: The id of each of them.
        unembedding: As from `project_unembedding`: of a single head, for every token of the vocabulary as `key`.
        k: The number of tokens of either kind; at most the vocabulary.

    Returns:
        The fields of `LogitEffects`.
    """
    logits = values @ unembedding.per_head[0, 0].mT + unembedding.constant[0]
    logits = logits - logits.mean(-1, keepdim=True)
    high, low = logits.topk(k), logits.topk(k, largest=False)
    own_logit = logits.gather(-1, sources[:, None])
    rank = (logits > own_logit).sum(-1) + 1
    return high.indices, high.values, low.indices, low.values, own_logit[:, 0], rank
