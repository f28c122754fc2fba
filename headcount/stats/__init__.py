"""Comparisons of results: ranks, intervals, nulls. They know results and no model."""

from headcount.stats import compare

__all__ = ["compare"]
