"""Comparisons of scores: all of them take results and return plain data.

* `spearman`, `matrix`: rank correlations, with interval, p-value, and what layer structure alone would give;
* `reliability`: how well scores agree with themselves, the measure of every rho;
* `clusters`: tasks that need the same heads;
* `across_shots`: the same task with more solved examples;
* `overlap`: the share of the highest heads that two measurements have in common;
* `capacity_retained`, `capacity`: how much of a score is left as heads are removed in another's order;
* `aggregate`, `by_layer`: one score of several tasks, and of a layer's heads;
* `at_depths`: scores by relative depth, to compare models of different sizes.

Agreement of induction scores with importance is `spearman` and `overlap` of the two: a score without folds, as those of
induction, which come from sequences and not from a task's examples, is taken as fixed.
"""

from headcount.stats.aligned import FEWEST
from headcount.stats.capacity import capacity, capacity_retained
from headcount.stats.correlations import across_shots, clusters, matrix, reliability, spearman
from headcount.stats.overlaps import overlap
from headcount.stats.summaries import aggregate, at_depths, by_layer

__all__ = [
    "FEWEST",
    "across_shots",
    "aggregate",
    "at_depths",
    "by_layer",
    "capacity",
    "capacity_retained",
    "clusters",
    "matrix",
    "overlap",
    "reliability",
    "spearman",
]
