"""Comparisons of scores: all of them take results and return plain data.

* `spearman`, `matrix`: rank correlations, with interval, p-value, and what layer structure alone would give;
* `reliability`: how well scores agree with themselves, the measure of every rho;
* `clusters`: tasks that need the same heads;
* `across_shots`: the same task with more solved examples;
"""

from importance.correlations import across_shots, clusters, matrix, reliability, spearman

__all__ = [
    "across_shots",
    "clusters",
    "matrix",
    "reliability",
    "spearman",
]
