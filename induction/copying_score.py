"""Copying: whether a head raises the logit of the token it attends to, and which others it raises and lowers.

Two facts make it cheap. The softmax's normaliser cancels in the score, so only the logits of the sequence's own tokens
are needed, not those of the vocabulary. And what head h writes for token t is z · (W_O[h] W_U[t]), so that after one
small projection of the unembedding all logits are a product [pos, d_head] x [d_head, pos].
"""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from headcount.results import InputError
from headcount.travel import travels

Definition = Literal["head-output", "published", "olsson", "eigenvalue"]


@travels
class Unembedding:
    """How one layer's heads write the logits of a sequence's own tokens.

    Attributes:
        per_head: W_O[head] W_U[t] for the token t at each position.
        constant: What every head writes alike: b_O W_U[t] + b_U[t].
    """

    def __init__(self, per_head: Float[Tensor, "batch head key d_head"], constant: Float[Tensor, "batch key"]) -> None:
        self.per_head, self.constant = per_head, constant


class Effects(NamedTuple):
    """What a head writes when it attends to one token alone, for each of some tokens; `k` tokens of either kind.

    Attributes:
        raised: The tokens whose logits it raises most.
        raised_logits: By how much.
        lowered: The tokens whose logits it lowers most.
        lowered_logits: By how much.
        own_logit: The logit of the token attended to.
        own_rank: Its rank among all tokens, 1 for the highest.
    """

    raised: Int64[Tensor, "source k"]
    raised_logits: Float[Tensor, "source k"]
    lowered: Int64[Tensor, "source k"]
    lowered_logits: Float[Tensor, "source k"]
    own_logit: Float[Tensor, " source"]
    own_rank: Int64[Tensor, " source"]


def check_definition(definition: str) -> None:
    """Raises `InputError` if there is no such definition of copying."""
    if definition not in get_args(Definition):
        raise InputError(f"definition must be one of {', '.join(get_args(Definition))}, not {definition!r}")


@travels
def project(
    unembed: Float[Tensor, "batch key d_model"],
    unembed_bias: Float[Tensor, "batch key"],
    w_o: Float[Tensor, "head d_head d_model"],
    b_o: Float[Tensor, " d_model"],
) -> Unembedding:
    """Bring the unembedding of a sequence's tokens into each head's own space."""
    return Unembedding(torch.einsum("bkm,hdm->bhkd", unembed, w_o), unembed @ b_o + unembed_bias)


@travels
def copying_score(
    through: Float[Tensor, "batch head query d_head"],
    attended: Int64[Tensor, "batch head query"],
    unembedding: Unembedding,
    valid: Bool[Tensor, "batch query"],
    definition: str,
) -> Float[Tensor, "batch head"]:
    """The copying score of each head on each sequence.

    With logits l_j[t] of the attendable tokens t_0 .. t_j at query j, and m_j the most attended of them:
    r = relu(p_j - mean p_j), p_j = softmax(l_j), and the score is the mean over j of r[m_j] / Σ r (0 where Σ r = 0);
    for `olsson` r = relu(l_j - mean l_j), and the mean of 2 r[m_j] / Σ r - 1.

    Args:
        through: What goes through W_O: the heads' z (`head-output`, `olsson`), or each token's own value (`published`).
        attended: The position m_j that each query attends to most.
        unembedding: See `project`.
        valid: Which queries count.
        definition: `head-output`, `published` or `olsson`.

    Returns:
        0 to 1; for `olsson` -1 to 1.
    """
    length = through.shape[2]
    causal = torch.ones(length, length, dtype=torch.bool, device=through.device).tril()
    masked = unembedding.constant[:, None, None].masked_fill(~causal, -torch.inf)
    rise = _rise((through @ unembedding.per_head.mT).add_(masked), causal, definition)
    total = rise.sum(-1)
    share = rise.gather(-1, attended[..., None])[..., 0] / total.where(total > 0, 1.0)
    score = 2 * share - 1 if definition == "olsson" else share
    return (score * valid[:, None]).sum(-1) / valid.sum(-1)[:, None]


@travels
def _rise(logits: Tensor, causal: Bool[Tensor, "query key"], definition: str) -> Float[Tensor, "batch head query key"]:
    """How far each attendable token lies above the mean of the attendable ones; 0 below it. In place of the logits."""
    count = causal.sum(-1, keepdim=True)
    if definition == "olsson":
        logits.masked_fill_(~causal, 0.0)
        return logits.sub_(logits.sum(-1, keepdim=True) / count).relu_().masked_fill_(~causal, 0.0)
    # Divided by the row's largest probability rather than by its sum: the score is a ratio, and nothing underflows.
    # What is not attendable is -inf in the logits, 0 here, and so below the mean.
    logits.sub_(logits.amax(-1, keepdim=True)).exp_()
    return logits.sub_(logits.sum(-1, keepdim=True) / count).relu_()


@travels
def effects(
    values: Float[Tensor, "source d_head"], own: Int64[Tensor, " source"], unembedding: Unembedding, k: int
) -> tuple[Tensor, ...]:
    """Which logits a head raises and lowers most when it attends to one token alone.

    With the same output as in the copying score, o = W_O (W_V x + b_V) + b_O for the token's normed embedding x:
    logit[t] = o W_U[t] + b_U[t], less the mean over the vocabulary, since only differences of logits matter.

    Args:
        values: W_V x + b_V of each token attended to.
        own: The id of each of them.
        unembedding: See `project`: of a single head, for every token of the vocabulary as `key`.
        k: How many tokens of either kind; at most the vocabulary.

    Returns:
        The fields of `Effects`.
    """
    logits = values @ unembedding.per_head[0, 0].mT + unembedding.constant[0]
    logits = logits - logits.mean(-1, keepdim=True)
    high, low = logits.topk(k), logits.topk(k, largest=False)
    own_logit = logits.gather(-1, own[:, None])
    rank = (logits > own_logit).sum(-1) + 1
    return high.indices, high.values, low.indices, low.values, own_logit[:, 0], rank


def eigenvalue_score(
    w_v: Float[Tensor, "head d_model d_head"],
    w_o: Float[Tensor, "head d_head d_model"],
    unembed_embed: Float[Tensor, "d_model d_model"],
) -> Float[Tensor, " head"]:
    """Σ Re λ / Σ |λ| over the eigenvalues of each head's full OV circuit W_E W_V W_O W_U; -1 to 1.

    A product has the same nonzero eigenvalues in any cyclic order, so the [vocab, vocab] circuit is never formed:
    those of W_O (W_U W_E) W_V, [d_head, d_head], are taken.

    Args:
        w_v: Value projections, one for each query head.
        w_o: Output projections.
        unembed_embed: W_U W_E, summed over the vocabulary.
    """
    circuit = w_o @ unembed_embed @ w_v
    known = circuit.isfinite().all(-1, keepdim=True).all(-2, keepdim=True)
    eigenvalues = torch.linalg.eigvals(circuit.where(known, 0.0))  # which takes no NaN; 0 / 0 gives it back
    return eigenvalues.real.sum(-1) / eigenvalues.abs().sum(-1)
