"""Comparisons of results: rank correlation, overlap, capacity retained, with intervals and nulls. They know no model.

`compare` holds all of them, each a function of results that returns plain data. `largest_rise` is of one score at
several checkpoints of a training.
"""

from typing import TYPE_CHECKING

from headcount.lazy import lazy_names

if TYPE_CHECKING:  # imported at its first use: it needs scipy
    from headcount.stats import compare
    from headcount.stats.checkpoints.rises import Rise, check_checkpoints, largest_rise

__all__ = ["Rise", "check_checkpoints", "compare", "largest_rise"]

__getattr__, __dir__ = lazy_names(__name__, __file__)
