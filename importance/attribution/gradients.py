"""Head importance from gradients: the first-order change of the loss as a head's output goes to zero.

With z the head's output before W_O and L the mean negative log-likelihood of a gold continuation's tokens, the
first-order change of L as z goes to zero is -Σ z · ∂L/∂z (Molchanov et al. 2016; Michel et al. 2019; Bansal et al.
2023, Eq. 8).
"""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor

from headcount.remote_code import runs_remotely
from headcount.results import InputError

Reduction = Literal["token", "example", "signed"]
FOLDS = 10


class Contributions(NamedTuple):
    """Contributions of every head to the loss of one example, or of each of several.

    Attributes:
        absolute: Σ over positions of |Σ_d z · ∂L/∂z|.
        signed: Σ over positions of Σ_d z · ∂L/∂z.
    """

    absolute: Float[Tensor, "*batch layer head"]
    signed: Float[Tensor, "*batch layer head"]


@runs_remotely
def layer_contributions(
    z: Float[Tensor, "batch pos head d_head"], gradient: Float[Tensor, "batch pos head d_head"]
) -> tuple[Float[Tensor, "batch head"], Float[Tensor, "batch head"]]:
    """Return one layer's sums over positions, absolute and signed, in float32.

    Padding has no gradient and adds nothing.
    """
    products = torch.einsum("bphd,bphd->bph", z.float(), gradient.float())
    return products.abs().sum(1), products.sum(1)


class Estimate(NamedTuple):
    """A mean over examples, its variance, and the same mean on subsets.

    Attributes:
        values: The importance of every head.
        variance: Its unbiased variance over examples; None for a single example.
        folds: The importance on interleaved tenths of the examples.
    """

    values: Float[Tensor, "layer head"]
    variance: Float[Tensor, "layer head"] | None
    folds: Float[Tensor, "fold layer head"]


def estimate_importance(
    contributions: Contributions, read: Int[Tensor, " example"], predicted: Int[Tensor, " example"], reduction: str
) -> Estimate:
    """Return head importance from the contributions to each example's loss.

    * `token`: Σ over examples of `absolute`, divided by the number of positions that can carry gradient: all that are
      read, and in the last layer those that predict a token of a continuation (what the published code computes);
    * `example`: mean over examples of |`signed`| (Eq. 8 with Michel's absolute value);
    * `signed`: mean over examples of `signed` (Eq. 8 as printed), minus the first-order change of the loss: below 0
      where the loss would rise without the head, so that its sign is opposite to that of removal (`oracle`).

    Args:
        contributions: [example, layer, head] of each kind.
        read: Tokens read in each example.
        predicted: Tokens predicted in each example.
        reduction: One of the three.

    Raises:
        InputError: There is no such reduction, or no example.
    """
    if reduction not in get_args(Reduction):
        raise InputError(f"reduction must be one of {', '.join(get_args(Reduction))}, not {reduction!r}")
    n, n_layers, _ = contributions.absolute.shape
    if n < 1:
        raise InputError("head importance needs at least one example")
    if reduction == "token":
        sums = contributions.absolute
        weight = torch.stack([read] * (n_layers - 1) + [predicted], dim=1)[:, :, None].float()
    else:
        sums = contributions.signed.abs() if reduction == "example" else contributions.signed
        weight = torch.ones(n, n_layers, 1)
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
