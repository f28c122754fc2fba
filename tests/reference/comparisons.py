"""Comparisons of scores in plain loops over Python numbers, straight from their definitions. NaN has been left out."""

import math
from itertools import permutations, product

Numbers = list[float]


def joined(layers: list[Numbers]) -> Numbers:
    """Return the values of all layers as one list."""
    return [value for layer in layers for value in layer]


def ranks(values: Numbers) -> Numbers:
    """Return each value's place from 1 to N; equal values share the mean of their places."""
    places = []
    for value in values:
        lower = sum(other < value for other in values)
        equal = sum(other == value for other in values)
        places.append(lower + (equal + 1) / 2)
    return places


def ranks_within(layers: list[Numbers]) -> Numbers:
    """Return ranks within each layer, less the layer's mean rank, as one list."""
    return [rank - (len(layer) + 1) / 2 for layer in layers for rank in ranks(layer)]


def argsort(values: Numbers) -> list[int]:
    """Return the positions of the values from lowest to highest, ties by position."""
    return sorted(range(len(values)), key=lambda place: values[place])


def pearson(x: Numbers, y: Numbers) -> float:
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    covariance = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
    return covariance / math.sqrt(sum((a - mean_x) ** 2 for a in x) * sum((b - mean_y) ** 2 for b in y))


def spearman(x: Numbers, y: Numbers) -> float:
    return pearson(ranks(x), ranks(y))


def spearman_within(x: list[Numbers], y: list[Numbers]) -> float:
    return pearson(ranks_within(x), ranks_within(y))


def argsort_correlation(x: Numbers, y: Numbers) -> float:
    return pearson(argsort(x), argsort(y))


def rearrangements(layers: list[Numbers]) -> list[list[Numbers]]:
    """Return every way to permute the values within their layers."""
    return [list(map(list, choice)) for choice in product(*(permutations(layer) for layer in layers))]


def split_half(folds: list[Numbers], first: list[int]) -> float:
    """Return the rank correlation of the mean over the folds in `first` with the mean over the others."""
    second = [fold for fold in range(len(folds)) if fold not in first]
    halves = [
        [sum(folds[fold][entry] for fold in half) / len(half) for entry in range(len(folds[0]))]
        for half in (first, second)
    ]
    return spearman(*halves)


def top(values: Numbers, count: int) -> set[int]:
    """Return the places of the `count` highest values, ties by position."""
    return set(sorted(range(len(values)), key=lambda place: (-values[place], place))[:count])


def top_within(layers: list[Numbers], part: float) -> set[tuple[int, int]]:
    return {(index, place) for index, layer in enumerate(layers) for place in top(layer, math.floor(part * len(layer)))}


def capacity(score: Numbers, order: Numbers) -> Numbers:
    """Return the percentage of the score's sum that remains after 0, 1, .. removals, the lowest of `order` first."""
    going = sorted(range(len(order)), key=lambda place: (order[place], place))
    curve = []
    for removed in range(len(score) + 1):
        remaining = sum(score[place] for place in range(len(score)) if place not in going[:removed])
        curve.append(100 * remaining / sum(score))
    return curve


def rank_mean(tasks: list[Numbers]) -> Numbers:
    """Return the mean over tasks of (rank - 1) / (N - 1)."""
    scaled = [[(rank - 1) / (len(task) - 1) for rank in ranks(task)] for task in tasks]
    return [sum(task[entry] for task in scaled) / len(tasks) for entry in range(len(tasks[0]))]


def average_linkage(names: list[str], rho: list[Numbers]) -> list[tuple[set[str], float]]:
    """Return every cluster that is formed and its mean 1 - rho, by merging the closest two again and again."""
    groups, formed = [{place} for place in range(len(names))], []
    while len(groups) > 1:
        pairs = [(first, second) for first in groups for second in groups if min(first) < min(second)]
        apart = {
            index: sum(1 - rho[i][j] for i in first for j in second) / (len(first) * len(second))
            for index, (first, second) in enumerate(pairs)
        }
        closest = min(apart, key=apart.__getitem__)
        first, second = pairs[closest]
        groups = [group for group in groups if group not in (first, second)] + [first | second]
        formed.append(({names[place] for place in first | second}, apart[closest]))
    return formed
