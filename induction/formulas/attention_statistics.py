"""Statistics of one head's attention on a text: its distance, the share on the first position, its entropy.

Position 0 is set apart throughout: many heads attend to it when nothing in the text concerns them, and since it is at
another distance from every query, it would raise all distances a little.
"""

import torch
from jaxtyping import Float
from torch import Tensor


def mean_by_lag(pattern: Float[Tensor, "query key"]) -> Float[Tensor, " lag"]:
    """Return the mean attention to the token d positions back, over the queries for which that is not position 0.

    by_lag[d] = mean over q = d+1 .. n-1 of A[q, q-d].

    Args:
        pattern: Attention A of one head, rows summing to 1.

    Returns:
        0 to 1 for the lags d = 0 .. n-1; NaN for the last, n-1, by which only position 0 is reached.
    """
    later = pattern[1:, 1:]
    return torch.stack([later.diagonal(-lag).mean() for lag in range(len(pattern))])


def sink_share(pattern: Float[Tensor, "query key"]) -> Float[Tensor, ""]:
    """Return the mean attention to position 0 over all later queries: 0 to 1; NaN for a single token."""
    return pattern[1:, 0].mean()


def row_entropy(pattern: Float[Tensor, "query key"]) -> Float[Tensor, " query"]:
    """Return the entropy of each query's attention, H = -Σ A log A, in nats: 0 to log(number of keys)."""
    # Where everything is on one key the sum is -0.0, which would be shown as such.
    return torch.special.entr(pattern).sum(-1).clamp_min(0.0)


def relative_entropy(entropy: Float[Tensor, " query"]) -> Float[Tensor, " query"]:
    """Return entropy as a share of the most that causal attention allows, H_q / log(q + 1).

    Returns:
        0, all on one key, to 1, evenly on all keys up to the query itself; NaN for the first query, which has one key.
    """
    keys = torch.arange(1, len(entropy) + 1, device=entropy.device)
    return entropy / keys.log()
