"""Copy suppression: attention to tokens that are predicted already, times the fall of their logits."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from headcount.remote_code import runs_remotely


@runs_remotely
def copy_suppression_sums(
    pattern: Float[Tensor, "batch head query key"],
    raised: Float[Tensor, "batch head key"],
    predicted: Bool[Tensor, "batch query key"],
) -> Float[Tensor, "three batch head query"]:
    """Return three sums over keys: of A · fall over predicted tokens, over the others, and of A over predicted ones.

    Args:
        pattern: A, some rows.
        raised: The number of logits by which the head raises each key's own token when it attends to it alone.
        predicted: True for keys whose token is among the model's likeliest at the query.

    Returns:
        The sums, in this order; a fall is minus `raised`.
    """
    chosen = predicted[:, None].to(pattern.dtype)
    falls = -pattern * raised[:, :, None]
    of_predicted = (falls * chosen).sum(-1)
    return torch.stack([of_predicted, falls.sum(-1) - of_predicted, (pattern * chosen).sum(-1)])
