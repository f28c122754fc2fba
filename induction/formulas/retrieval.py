"""Retrieval: a head attends most to the token that the model is about to copy out of its context."""

from __future__ import annotations

from jaxtyping import Bool, Float, Int
from torch import Tensor

from headcount.remote_code import runs_remotely


@runs_remotely
def retrieval_score(
    attended: Int[Tensor, "batch head query"],
    needle: Int[Tensor, "batch query"],
    produced: Bool[Tensor, "batch query"] | None = None,
) -> Float[Tensor, "batch head"]:
    """Return the share of queries at which the most attended key is the place of the token to be copied; 0 to 1.

    Args:
        attended: The key to which each query attends most.
        needle: The place of the token that comes next.
        produced: True where the model produces that token; the others count as misses. None: it need not.
    """
    hits = attended == needle[:, None]
    return (hits if produced is None else hits & produced[:, None]).float().mean(-1)
