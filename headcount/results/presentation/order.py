"""The order of scores, the highest first."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def highest_first(values: NDArray[Any], ties: NDArray[Any] | None = None) -> NDArray[np.int64]:
    """Return the indices of all entries that are no NaN, the highest first.

    Args:
        values: The scores, flat.
        ties: Numbers that order equal scores, the higher first; None leaves these to their positions.
    """
    second = np.zeros_like(values) if ties is None else ties
    order = np.lexsort((-second, -values))  # NaN sorts last
    return order[: int((~np.isnan(values)).sum())]
