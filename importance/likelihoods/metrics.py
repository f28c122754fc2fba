"""Metrics: from log-likelihoods to units that are right, with the accuracy of guessing and of one constant answer.

A unit is a document, except where MultiRC is scored by whole questions (`acc_all`): there it is a question, which is
right if the verdict on each of its answers is. The metrics:

* `acc`, `exact`: the likeliest choice is (one of) the right one(s); of equally likely ones the first counts.
* `acc_all`: the same for every document of the unit.
* `greedy`: the model's likeliest token at every step is the continuation's.
"""

import math
from collections import Counter
from collections.abc import Sequence

from headcount.importance.documents import Document

METRICS = ("acc", "acc_all", "exact", "greedy")


def units(metric: str, documents: Sequence[Document]) -> list[list[int]]:
    """Return the places of each unit's documents, units in order of first appearance."""
    if metric != "acc_all":
        return [[place] for place in range(len(documents))]
    by_group: dict[str | None, list[int]] = {}
    for place, document in enumerate(documents):
        by_group.setdefault(document.group, []).append(place)
    return list(by_group.values())


def chosen(log_p: Sequence[float]) -> float:
    """Return the likeliest choice, the first of equally likely ones; NaN if a log-likelihood is NaN."""
    return math.nan if math.isnan(highest(log_p)) else max(range(len(log_p)), key=log_p.__getitem__)


def is_tied(log_p: Sequence[float]) -> bool:
    """Return True if several choices are exactly as likely, and none is likelier."""
    return len(log_p) > 1 and sum(value == max(log_p) for value in log_p) > 1


def highest(log_p: Sequence[float]) -> float:
    """Return the highest of some log-likelihoods; NaN if one of them is NaN."""
    return math.nan if any(map(math.isnan, log_p)) else max(log_p)


def correct(
    metric: str, documents: Sequence[Document], log_p: Sequence[Sequence[float]], greedy: Sequence[Sequence[bool]]
) -> list[float]:
    """Return 1 for each unit that is right, else 0; accuracy is the mean.

    Args:
        metric: One of `METRICS`.
        documents: The documents that were scored.
        log_p: Log-likelihood of each document's requests.
        greedy: For each request, True if it is the model's greedy continuation.

    Returns:
        One value a unit, in the order of `units`; NaN where a log-likelihood is NaN.
    """
    if metric == "greedy":
        right = [flags[document.gold[0]] for document, flags in zip(documents, greedy, strict=True)]
    else:
        right = [chosen(values) in document.gold for document, values in zip(documents, log_p, strict=True)]
    known = [not math.isnan(highest(values)) for values in log_p]
    return [
        float(all(right[place] for place in places)) if all(known[place] for place in places) else math.nan
        for places in units(metric, documents)
    ]


def chance(metric: str, documents: Sequence[Document]) -> float:
    """Return the expected accuracy of guessing, every choice with the same probability; 0 for `greedy`."""
    if metric == "greedy":
        return 0.0
    odds = [len(document.gold) / len(document.requests) for document in documents]
    return _mean([math.prod(odds[place] for place in places) for places in units(metric, documents)])


def majority(metric: str, documents: Sequence[Document]) -> float:
    """Return the accuracy of the best constant answer, for tasks whose documents all have the same choices."""
    constants = Counter(choice for document in documents for choice in range(len(document.requests)))
    return max(
        _mean(
            [all(choice in documents[place].gold for place in places) for places in units(metric, documents)],
        )
        for choice in constants
    )


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
