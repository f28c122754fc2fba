"""Copying: how much a head raises the logit of the token that it attends to.

Two facts make it cheap. The softmax's normaliser cancels in the score, so only the logits of the sequence's own tokens
are needed, not those of the vocabulary. And what head h writes for token t is z · (W_O[h] W_U[t]), so that after one
small projection of the unembedding all logits are a product [pos, d_head] x [d_head, pos].
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from headcount.induction.formulas.head_logits import HeadUnembedding
from headcount.remote_code import runs_remotely
from headcount.results import InputError

Definition = Literal["head-output", "published", "olsson", "eigenvalue"]


def check_definition(definition: str) -> None:
    """Raise `InputError` if there is no such definition of copying."""
    if definition not in get_args(Definition):
        raise InputError(f"definition must be one of {', '.join(get_args(Definition))}, not {definition!r}")


@runs_remotely
def copying_score(
    through: Float[Tensor, "batch head query d_head"],
    attended: Int64[Tensor, "batch head query"],
    unembedding: HeadUnembedding,
    valid: Bool[Tensor, "batch query"],
    definition: str,
) -> Float[Tensor, "batch head"]:
    """Return the copying score of each head on each sequence.

    With logits l_j[t] of the attendable tokens t_0 .. t_j at query j, and m_j the most attended of them:
    r = relu(p_j - mean p_j), p_j = softmax(l_j), and the score is the mean over j of r[m_j] / Σ r (0 where Σ r = 0);
    for `olsson` r = relu(l_j - mean l_j), and the mean of 2 r[m_j] / Σ r - 1.

    Args:
        through: The input of W_O: the heads' z (`head-output`, `olsson`), or each token's own value (`published`).
        attended: The position m_j that each query attends to most.
        unembedding: The unembedding of the sequence's tokens, as from `project_unembedding`.
        valid: True for the queries that count.
        definition: `head-output`, `published` or `olsson`.

    Returns:
        0 to 1; for `olsson` -1 to 1.
    """
    length = through.shape[2]
    causal = torch.ones(length, length, dtype=torch.bool, device=through.device).tril()
    masked = unembedding.constant[:, None, None].masked_fill(~causal, -torch.inf)
    rise = _rise_above_mean((through @ unembedding.per_head.mT).add_(masked), causal, definition)
    total = rise.sum(-1)
    share = rise.gather(-1, attended[..., None])[..., 0] / total.where(total > 0, 1.0)
    score = 2 * share - 1 if definition == "olsson" else share
    return (score * valid[:, None]).sum(-1) / valid.sum(-1)[:, None]


@runs_remotely
def _rise_above_mean(
    logits: Tensor, causal: Bool[Tensor, "query key"], definition: str
) -> Float[Tensor, "batch head query key"]:
    """Replace logits by how far each attendable token lies above the mean of the attendable ones; 0 below it."""
    count = causal.sum(-1, keepdim=True)
    if definition == "olsson":
        logits.masked_fill_(~causal, 0.0)
        return logits.sub_(logits.sum(-1, keepdim=True) / count).relu_().masked_fill_(~causal, 0.0)
    # Divided by the row's largest probability rather than by its sum: the score is a ratio, and nothing underflows.
    # What is not attendable is -inf in the logits, 0 here, and so below the mean.
    logits.sub_(logits.amax(-1, keepdim=True)).exp_()
    return logits.sub_(logits.sum(-1, keepdim=True) / count).relu_()


def eigenvalue_score(
    w_v: Float[Tensor, "head d_model d_head"],
    w_o: Float[Tensor, "head d_head d_model"],
    unembed_embed: Float[Tensor, "d_model d_model"],
) -> Float[Tensor, " head"]:
    """Return Σ Re λ / Σ |λ| over the eigenvalues of each head's full OV circuit W_E W_V W_O W_U; -1 to 1.

    A product has the same nonzero eigenvalues in any cyclic order, so the [vocab, vocab] circuit is never formed:
    those of W_O (W_U W_E) W_V, [d_head, d_head], are taken.

    Args:
        w_v: Value projections, one for each query head.
        w_o: Output projections.
        unembed_embed: W_U W_E, summed over the vocabulary.

    Returns:
        The score; NaN for a head whose weights are not finite, or all zero.
    """
    circuit = w_o @ unembed_embed @ w_v
    finite = circuit.isfinite().all(-1, keepdim=True).all(-2, keepdim=True)
    eigenvalues = torch.linalg.eigvals(circuit.where(finite, 0.0))  # which takes no NaN; 0 / 0 brings it back
    return eigenvalues.real.sum(-1) / eigenvalues.abs().sum(-1)
