"""Composition: how much of the output of an earlier head a later one reads, from the weights of both."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def composition_scores(
    w_v: Float[Tensor, "earlier d_model d_value"],
    w_o: Float[Tensor, "earlier d_value d_model"],
    reads: Float[Tensor, "group d_model d_read"],
    other: Float[Tensor, "later d_model d_read"],
) -> Float[Tensor, "earlier later"]:
    """Return ||W_V W_O R P^T||_F / (||W_V W_O||_F ||R P^T||_F) for every pair of heads; 0 to 1.

    R is the matrix by which the later head reads the residual stream, P the other factor of its circuit: R = W_K and
    P = W_Q for its keys, the reverse for its queries, R = W_V and P = W_O^T for its values. Later heads of one group
    share R, and stand side by side.

    The circuits [d_model, d_model] are never formed. With the core M = W_O R, [d_value, d_read], and G(X) = X^T X the
    squared norm of the product is the sum over entries of (M^T G(W_V) M) * G(P).

    Args:
        w_v: Value projections of the earlier heads.
        w_o: Output projections of the earlier heads.
        reads: R of each group of later heads.
        other: P of each later head.

    Returns:
        The scores in float64; NaN for a head whose weights are all zero.

    Source: Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits", three kinds of composition.
    """
    groups, size = len(reads), len(other) // len(reads)
    gram_v, gram_r = _gram(w_v), _gram(reads).repeat_interleave(size, 0)
    gram_p = _gram(other)
    written = (gram_v * _gram(w_o.mT)).sum((-2, -1))
    read = (gram_r * gram_p).sum((-2, -1))
    # One product for all pairs of two layers, in the precision of the weights; what follows is small.
    cores = (w_o.flatten(0, 1) @ reads.transpose(0, 1).flatten(1)).unflatten(0, (len(w_o), -1))
    rows = []
    for gram, core in zip(gram_v, cores, strict=True):
        of_groups = core.unflatten(-1, (groups, -1)).transpose(0, 1).double()
        inner = of_groups.mT @ gram @ of_groups
        rows.append((inner.repeat_interleave(size, 0) * gram_p).sum((-2, -1)))
    return (torch.stack(rows).clamp(min=0) / (written[:, None] * read)).sqrt()


def _gram(matrices: Float[Tensor, "*batch d_in d_out"]) -> Float[Tensor, "*batch d_out d_out"]:
    """Return X^T X in float64."""
    return matrices.double().mT @ matrices.double()
