"""The tables of analyses: scores by name go in, rows and a sentence about them come out."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from itertools import combinations, product
from typing import Any, Literal, NamedTuple

from headcount.results import (
    Capacity,
    CorrelationMatrix,
    ExpertScores,
    HeadScores,
    LayerScores,
    ResultName,
    Setting,
    ShotPair,
)
from headcount.results.internal import SCORES
from headcount.stats import compare

Scores = HeadScores | LayerScores | ExpertScores

Within = Literal["layer"] | None
CORRELATIONS: tuple[tuple[Literal["spearman", "argsort"], Within], ...] = (
    ("spearman", None),
    ("spearman", "layer"),
    ("argsort", None),
)
"""Rank correlations: Spearman's, the same within layers, and the one that the published code computes."""

POINTS = 100
"""Numbers of removed heads at which retained capacity is stored, where there are more heads than that."""


class Rows(NamedTuple):
    """The content of an analysis' table.

    Attributes:
        records: A record for each row, all with the same keys.
        definition: Their meaning, in a sentence.
    """

    records: Iterable[Mapping[str, Any]]
    definition: str


def correlations(scores: Mapping[str, Scores], *, seed: int) -> Rows:
    """Return the rank correlations of every two tasks' head importance."""
    matrices = [compare.matrix(scores, variant=variant, within=within, seed=seed) for variant, within in CORRELATIONS]
    records = [record for matrix in matrices for record in _pairs(matrix)]
    return Rows(
        records, "Rank correlation of every two tasks' head importance; argsort is what the published code does"
    )


def ffn_correlations(scores: Mapping[str, Scores], *, seed: int) -> Rows:
    """Return the rank correlations of every two tasks' FFN importance."""
    return Rows(_pairs(compare.matrix(scores, seed=seed)), "Rank correlation of every two tasks' FFN importance")


def task_order(scores: Mapping[str, Scores]) -> Rows:
    """Return the tasks in an order that puts those with similar rankings side by side; the mean is left out."""
    tasks = {task: values for task, values in scores.items() if task != "mean"}
    order = compare.clusters(compare.matrix(tasks, resamples=0)).order
    records = [{"place": place, "task": task} for place, task in enumerate(order)]
    return Rows(records, "Tasks in the order of average-linkage clusters at distance 1 - rho")


def overlaps(scores: Mapping[str, Scores], *, top: float, seed: int) -> Rows:
    """Return the overlaps of every two tasks' highest heads."""
    records = []
    for a, b in combinations(scores, 2):
        overlap = asdict(compare.overlap(scores[a], scores[b], top, resamples=200, seed=seed))
        records.append({"a": a, "b": b, **overlap})
    return Rows(records, "The share of the highest heads that two tasks have in common")


def reliabilities(scores: Mapping[str, Scores], *, seed: int) -> Rows:
    """Return the reliability of each task's head importance."""
    records = [{"task": task, **asdict(compare.reliability(values, seed=seed))} for task, values in scores.items()]
    return Rows(records, "Rank correlation between two halves of the examples; corrected for half the number")


def agreements(scores: Mapping[str, Scores], *, top: float, seed: int) -> Rows:
    """Return the agreement of each task's head importance with each induction score; `scores` holds both."""
    records = []
    for task, score in product([name for name in scores if name not in SCORES], SCORES):
        rho = asdict(compare.spearman(scores[score], scores[task], resamples=200, seed=seed))
        shared = compare.overlap(scores[score], scores[task], top, resamples=200, seed=seed)
        overlap = {
            "overlap": shared.fraction,
            "overlap_chance": shared.chance,
            "overlap_low": shared.low,
            "overlap_high": shared.high,
        }
        records.append({"task": task, "score": score, **rho, **overlap})
    return Rows(records, "Rank correlation and overlap of induction scores with head importance")


def capacities(scores: Mapping[str, Scores], *, seed: int) -> Rows:
    """Return the share of the scores called `score` that remains as heads go in the order of those called `order`."""
    capacity = compare.capacity(scores["score"], scores["order"], resamples=200, seed=seed)
    return Rows(_points(capacity), "Percent of the score's sum that remains as the least important heads go")


def layer_means(scores: Mapping[ResultName, Scores]) -> Rows:
    """Return the mean of each score in each layer."""
    records = [record for name, values in scores.items() for record in _by_layer(name, values)]
    return Rows(
        records, "Mean score over the heads of each layer, and each layer's share of the sum of what is above 0"
    )


def gradients_and_oracle(
    gradients: Mapping[Setting, Scores], oracle: Mapping[Setting, Scores], *, top: float, seed: int
) -> Rows:
    """Return the agreement of importance by gradients with importance by removing heads, for each setting."""
    records = []
    ways: tuple[Within, ...] = (None, "layer")
    for setting, within in product(gradients, ways):
        first, second = gradients[setting], oracle[setting]
        rho = compare.spearman(first, second, within=within, seed=seed)
        shared = compare.overlap(first, second, top, within=within, seed=seed)
        overlap = {"overlap": shared.fraction, "overlap_chance": shared.chance}
        records.append({"setting": str(setting), **asdict(rho), **overlap})
    return Rows(records, "Gradient head importance against the drop of the gold log-probability without each head")


def shot_pairs(scores: Mapping[Setting, Scores], *, seed: int) -> list[ShotPair]:
    """Return the rank correlations of tasks' head importance at every two numbers of shots."""
    by_shots: dict[int, dict[str, Scores]] = {}
    for setting, values in scores.items():
        by_shots.setdefault(setting.shots, {})[setting.task] = values
    return [
        pair
        for variant, within in CORRELATIONS
        for pair in compare.across_shots(by_shots, variant=variant, within=within, seed=seed)  # type: ignore[arg-type]
    ]


def across_shots(pairs: Sequence[ShotPair]) -> Rows:
    """Return the rank correlations across shots, task by task."""
    records = [
        {"task": task, "shots_a": pair.shots[0], "shots_b": pair.shots[1], **asdict(rho)}
        for pair in pairs
        for task, rho in pair.tasks.items()
    ]
    return Rows(records, "Rank correlation of a task's head importance at two numbers of shots")


def across_shots_summary(pairs: Sequence[ShotPair]) -> Rows:
    """Return the mean and variance over tasks of the rank correlations across shots."""
    records = []
    for pair in pairs:
        first = next(iter(pair.tasks.values()))
        kind = {"variant": first.variant, "within": first.within}
        numbers = {"mean": pair.mean, "variance": pair.variance, "n": pair.n}
        records.append({"shots_a": pair.shots[0], "shots_b": pair.shots[1], **numbers, **kind})
    return Rows(records, "Mean and variance over tasks of the rank correlations across shots")


def _pairs(matrix: CorrelationMatrix) -> list[dict[str, Any]]:
    """A record for every two names."""
    numbers = ("rho", "p_value", "low", "high", "null_mean", "null_low", "null_high", "null_p", "ceiling")
    shared = {"n": matrix.n, "variant": matrix.variant, "within": matrix.within}
    return [
        {
            "a": matrix.names[i],
            "b": matrix.names[j],
            **{name: getattr(matrix, name)[i][j] for name in numbers},
            **shared,
        }
        for i, j in combinations(range(len(matrix.names)), 2)
    ]


def _points(capacity: Capacity) -> list[dict[str, Any]]:
    """A record for each number of removed heads, or for `POINTS` of them."""
    last = len(capacity.curve) - 1
    steps = POINTS if last > 3 * POINTS else last
    names = ("low", "high", "null_mean", "null_low", "null_high")
    return [
        {"removed": at, "retained": capacity.curve[at], **{name: getattr(capacity, name)[at] for name in names}}
        for at in (round(last * step / steps) for step in range(steps + 1))
    ]


def _by_layer(name: ResultName, scores: Scores) -> list[dict[str, Any]]:
    """A record for each layer; task and shots, or the induction score, come from the result's name."""
    setting = name.setting
    means = compare.by_layer(scores)
    stderr = [None] * len(means.values) if means.stderr is None else means.stderr.tolist()
    sums = scores.values.clamp(min=0).reshape(len(means.values), -1).nansum(1)
    there = ~means.values.isnan()  # in hybrid models not all layers have heads
    shares = [
        float(part / sums.sum()) if has_heads and sums.sum() > 0 else None
        for part, has_heads in zip(sums, there, strict=True)
    ]
    layers = zip(means.values.tolist(), stderr, shares, strict=True)
    return [
        {
            "measure": name.topic if setting is None else scores.measure,
            "task": "" if setting is None else setting.task,
            "shots": None if setting is None else setting.shots,
            "layer": layer,
            "value": value,
            "stderr": error,
            "share": share,
        }
        for layer, (value, error, share) in enumerate(layers)
    ]
