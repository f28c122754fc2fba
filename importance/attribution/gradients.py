"""Head importance from gradients: the first-order change of the loss as a head's output is ablated.

With z the head's output before W_O, r what ablation puts in its place (zero, unless a baseline is chosen) and L the
mean negative log-likelihood of a gold continuation's tokens, the first-order change of L as z goes to r is
Σ (r - z) · ∂L/∂z (Molchanov et al. 2016; Michel et al. 2019; Bansal et al. 2023, Eq. 8, for r = 0).
"""

from __future__ import annotations

from collections.abc import Mapping
from math import floor
from types import MappingProxyType
from typing import Literal, NamedTuple, get_args

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from headcount.remote_code import runs_remotely
from headcount.results import InputError

Reduction = Literal["token", "example", "drop", "signed"]
FOLDS = 10


class Contributions(NamedTuple):
    """Contributions of every head to the loss of one example, or of each of several.

    Attributes:
        absolute: Σ over positions of |Σ_d (z - r) · ∂L/∂z|.
        signed: Σ over positions of Σ_d (z - r) · ∂L/∂z.
    """

    absolute: Float[Tensor, "*batch layer head"]
    signed: Float[Tensor, "*batch layer head"]


@runs_remotely
def layer_contributions(
    difference: Float[Tensor, "batch pos head d_head"], gradient: Float[Tensor, "batch pos head d_head"]
) -> tuple[Float[Tensor, "batch head"], Float[Tensor, "batch head"]]:
    """Return one layer's sums over positions, absolute and signed, in float32.

    Padding has no gradient and adds nothing.

    Args:
        difference: z - r, what ablation takes away.
        gradient: ∂L/∂z.
    """
    products = torch.einsum("bphd,bphd->bph", difference.float(), gradient.float())
    return products.abs().sum(1), products.sum(1)


class Estimate(NamedTuple):
    """A mean over examples, its variance, and the same mean on subsets.

    Attributes:
        values: The importance of every head.
        variance: Its unbiased variance over examples; None for a single example.
        folds: The importance on interleaved tenths of the examples.
        extras: Other numbers per head.
    """

    values: Float[Tensor, "layer head"]
    variance: Float[Tensor, "layer head"] | None
    folds: Float[Tensor, "fold layer head"]
    extras: Mapping[str, Float[Tensor, "layer head"]] = MappingProxyType({})


def estimate_importance(
    contributions: Contributions, read: Int[Tensor, " example"], predicted: Int[Tensor, " example"], reduction: str
) -> Estimate:
    """Return head importance from the contributions to each example's loss.

    * `token`: Σ over examples of `absolute`, divided by the number of positions that can carry gradient: all that are
      read, and in the last layer those that predict a token of a continuation (what the published code computes);
    * `example`: mean over examples of |`signed`| (Eq. 8 with Michel's absolute value);
    * `drop`: mean over examples of the first-order drop of the gold log-probability, in nats, with the sign and unit of
      removal (`oracle`). `extras["absolute_drop"]` is the mean of its size;
    * `signed`: mean over examples of `signed` (Eq. 8 as printed): the negative of `drop`, and of the loss averaged over
      the tokens of a continuation. Above 0 where the loss would fall without the head.

    Args:
        contributions: [example, layer, head] of each kind.
        read: Tokens read in each example.
        predicted: Tokens predicted in each example.
        reduction: One of the four.

    Raises:
        InputError: There is no such reduction, or no example.
    """
    if reduction not in get_args(Reduction):
        raise InputError(f"reduction must be one of {', '.join(get_args(Reduction))}, not {reduction!r}")
    n, n_layers, _ = contributions.absolute.shape
    if n < 1:
        raise InputError("head importance needs at least one example")
    if reduction == "drop":
        return estimate_drops(first_order_drops(contributions, predicted))
    if reduction == "token":
        weight = torch.stack([read] * (n_layers - 1) + [predicted], dim=1)[:, :, None].float()
        return _estimate(contributions.absolute, weight)
    return _mean(contributions.signed.abs() if reduction == "example" else contributions.signed)


def first_order_drops(
    contributions: Contributions, predicted: Int[Tensor, " example"]
) -> Float[Tensor, "example layer head"]:
    """Return e = Σ (r - z) · ∂NLL/∂z of every example and head, in nats of the summed gold log-probability.

    NLL is the sum over a continuation's tokens, of which the loss is the mean.
    """
    return -contributions.signed * predicted[:, None, None]


def estimate_drops(drops: Float[Tensor, "example layer head"]) -> Estimate:
    """Return the mean over examples of drops of the gold log-probability, and in `extras` that of their size."""
    return _mean(drops)._replace(extras={"absolute_drop": drops.abs().mean(0)})


def highest_share(scores: Float[Tensor, "layer head"], share: float) -> Bool[Tensor, "layer head"]:
    """Return True for the highest floor(share · N) of the N scores that are numbers, at least one; ties by position."""
    flat = scores.flatten().nan_to_num(nan=-torch.inf)
    count = max(1, floor(share * int(scores.isfinite().sum())))
    chosen = torch.zeros(flat.shape, dtype=torch.bool)
    chosen[flat.argsort(descending=True, stable=True)[:count]] = True
    return chosen.view(scores.shape)


def _mean(values: Float[Tensor, "example layer head"]) -> Estimate:
    return _estimate(values, torch.ones(*values.shape[:2], 1))


def _estimate(sums: Float[Tensor, "example layer head"], weight: Float[Tensor, "example layer 1"]) -> Estimate:
    """Return Σ sums / Σ weight."""
    n = len(sums)
    values = _ratio(sums, weight)
    # Of a ratio of sums, to first order: the residuals take the place of the terms of a mean.
    residuals = (sums - values * weight) / weight.mean(0)
    folds = torch.stack([_ratio(sums[fold::FOLDS], weight[fold::FOLDS]) for fold in range(min(FOLDS, n))])
    return Estimate(values, residuals.var(0) if n > 1 else None, folds)


def normalised_by_layer(scores: Float[Tensor, "*fold layer head"]) -> Float[Tensor, "*fold layer head"]:
    """Return scores divided by the L2 norm of their layer (Michel et al. 2019); a layer of zeros stays as it is."""
    norm = scores.norm(dim=-1, keepdim=True)
    return scores / norm.where(norm > 0, 1.0)


def _ratio(sums: Float[Tensor, "example layer head"], weight: Float[Tensor, "example layer 1"]) -> Tensor:
    return sums.sum(0) / weight.sum(0)
