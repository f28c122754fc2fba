"""Comparisons of results: rank correlation, overlap, capacity retained, with intervals and nulls. They know no model.

`compare` holds all of them, each a function of results that returns plain data.
"""

from headcount.stats import compare

__all__ = ["compare"]
