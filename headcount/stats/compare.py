"""Comparisons of scores: functions of results that return plain data.

* `spearman`, `matrix`: rank correlations, with interval, p-value, and the correlation that layer structure alone gives;
* `reliability`: split-half agreement of one score, the yardstick for every rho;
* `clusters`: tasks that need the same heads;
* `across_shots`: the same task with more solved examples;
* `overlap`: the share of the highest heads that two measurements have in common;
* `capacity_retained`, `capacity`: the part of a score that is left as heads are removed in the order of another;
* `aggregate`: one score of several tasks;
* `area`, `faithfulness`: a curve of removal in one number;
* `mean_effects`, `kind_difference`: what is left without sets of heads, in the mean over tasks;
* `head_verdicts`: heads that a task needs, and heads that only go along;
* `by_layer`: one score of a layer's heads;
* `at_depths`: scores by relative depth, to compare models of different sizes.

Agreement of induction scores with importance is `spearman` and `overlap` of the two: a score without folds, as those of
induction, which come from sequences and not from a task's examples, is taken as fixed.
"""

from headcount.stats.aggregate import aggregate
from headcount.stats.aligned import FEWEST
from headcount.stats.by_layer import at_depths, by_layer
from headcount.stats.capacity_retained import capacity, capacity_retained
from headcount.stats.clusters import clusters
from headcount.stats.overlap import overlap
from headcount.stats.rank_correlation import across_shots, matrix, spearman
from headcount.stats.reliability import reliability
from headcount.stats.removal.areas import area, faithfulness
from headcount.stats.removal.mean_effects import kind_difference, mean_effects, set_index
from headcount.stats.removal.verdicts import head_verdicts

__all__ = [
    "FEWEST",
    "across_shots",
    "aggregate",
    "area",
    "at_depths",
    "by_layer",
    "capacity",
    "capacity_retained",
    "clusters",
    "faithfulness",
    "head_verdicts",
    "kind_difference",
    "matrix",
    "mean_effects",
    "overlap",
    "reliability",
    "set_index",
    "spearman",
]
