"""Orders of removal: along one ranking, ranked again before each step, or random; and the steps of a curve."""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from math import floor

import torch

from headcount.importance.measure import ffn_importance, head_importance
from headcount.importance.pruning.pruned_answers import Component, Parts, PrunedAnswers, Removal, parts_of
from headcount.results import HeadScores, InputError, LayerScores
from headcount.tracing import Model, masked

Scores = HeadScores | LayerScores

EXAMPLES = 100
"""Examples that rank the heads again before each step of the strategy `recomputed`."""


def removal_steps(percents: Iterable[float], parts: int) -> tuple[tuple[float, ...], list[int]]:
    """Return the percentages of a curve in ascending order, 0 first, and the number of parts removed at each.

    Raises:
        InputError: A percentage is out of range.
    """
    if isinstance(percents, str):
        raise InputError(f"expected percents as a list of numbers, got the text {percents!r:.40}")
    steps = tuple(sorted({0.0, *map(float, percents)}))
    if not all(0 <= step <= 100 for step in steps):
        raise InputError(f"expected percents from 0 to 100, got {steps[0]:g} to {steps[-1]:g}")
    return steps, [floor(percent * parts / 100) for percent in steps]


def first_parts(component: Component, order: Parts, count: int) -> Removal:
    """Return the removal of the first `count` parts of an order."""
    removed = tuple(sorted(order[:count].tolist()))
    return Removal(heads=removed) if component == "heads" else Removal(ffns=removed)


def ranked_order(scores: Scores, model: Model, component: Component) -> Parts:
    """Return all parts in the order of one ranking, the least important first.

    Raises:
        InputError: The scores are not those of this model's heads, or of its feed-forward networks.
    """
    sizes, kind = model.sizes, HeadScores if component == "heads" else LayerScores
    shape = (sizes.n_layers, sizes.n_heads) if component == "heads" else (sizes.n_layers,)
    if not isinstance(scores, kind) or scores.shape != shape:
        got = f"{type(scores).__name__} of shape {list(getattr(scores, 'shape', []))}"
        raise InputError(f"to remove {component} expected {kind.__name__} of shape {list(shape)}, got {got}")
    return _existing(scores.ranking(), model, component)


def _existing(order: Parts, model: Model, component: Component) -> Parts:
    """Return an order without the heads of layers that have none."""
    return order[torch.isin(order, parts_of(model, component))]


def random_order(parts: Parts, seed: int) -> Parts:
    """Return some parts in a random order."""
    return parts[torch.randperm(len(parts), generator=torch.Generator().manual_seed(seed))]


def recomputed_order(answers: PrunedAnswers, component: Component, counts: Sequence[int]) -> Parts:
    """Return all parts in the order of their removal, the remaining ones ranked again before each step.

    Args:
        answers: The whole model and the task's documents.
        component: The parts that are removed.
        counts: The number of parts removed at each step.
    """
    order = _existing(_importance(answers, component, Removal()).ranking(), answers.model, component)
    for count, next_count in pairwise(counts):
        if 0 < count < next_count:
            scores = _importance(answers, component, first_parts(component, order, count))
            removed, ranking = order[:count], _existing(scores.ranking(), answers.model, component)
            order = torch.cat([removed, ranking[~torch.isin(ranking, removed)]])
    return order


def _importance(answers: PrunedAnswers, component: Component, removal: Removal) -> Scores:
    """Return importance on the documents' task in the model without these parts."""
    encoded, (heads, ffns) = answers.encoded, answers.masks(removal)
    task = encoded.task
    shots, limit, seed = (encoded.settings[name] for name in ("shots", "limit", "seed"))
    with masked(answers.model, heads, ffns) as model:
        if component == "ffns":
            return ffn_importance(model, task, shots, limit, seed=seed, batch_size=answers.batch_size)
        examples = task.examples(shots, EXAMPLES, seed=seed)
        return head_importance(model, examples, encoding=task.encoding, batch_size=answers.batch_size)
