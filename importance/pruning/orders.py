"""Orders of removal: along one ranking, ranked again before each step, or random; and the steps of a curve."""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from math import floor

import torch

from headcount.importance.measure import expert_importance, ffn_importance, head_importance
from headcount.importance.pruning.pruned_answers import Component, Parts, PrunedAnswers, Removal, parts_of, shape_of
from headcount.results import ExpertScores, HeadScores, InputError, LayerScores
from headcount.tracing import Model

Scores = HeadScores | LayerScores | ExpertScores

_RANKED_BY: dict[Component, type[Scores]] = {
    "heads": HeadScores,
    "ffns": LayerScores,
    "kv_groups": HeadScores,
    "experts": ExpertScores,
}
"""The scores that rank each kind of part; a KV group has the mean of its heads'."""

EXAMPLES = 100
"""Examples that rank heads or experts again before each step of the strategy `recomputed`."""

RECOMPUTED_BY = "example"
"""The reduction of gradients that ranks heads again."""


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


def first_parts(model: Model, component: Component, order: Parts, count: int) -> Removal:
    """Return the removal of the first `count` parts of an order."""
    parts = order[:count]
    if component == "kv_groups":
        heads = torch.arange(model.sizes.n_layers * model.sizes.n_heads).view(-1, _group_size(model))
        return Removal(heads=tuple(sorted(heads[parts].flatten().tolist())))
    return Removal(**{component: tuple(sorted(parts.tolist()))})


def ranked_order(scores: Scores, model: Model, component: Component) -> Parts:
    """Return all parts in the order of one ranking, the least important first.

    KV groups are ranked by the mean of the scores of their heads.

    Raises:
        InputError: The scores are not those of this model's heads, feed-forward networks or experts.
    """
    kind = _RANKED_BY[component]
    shape = shape_of(model, "heads" if component == "kv_groups" else component)
    if not isinstance(scores, kind) or scores.shape != shape:
        got = f"{type(scores).__name__} of shape {list(getattr(scores, 'shape', []))}"
        raise InputError(f"to remove {component} expected {kind.__name__} of shape {list(shape)}, got {got}")
    if component == "kv_groups":
        scores = HeadScores(scores.values.unflatten(1, (-1, _group_size(model))).mean(-1))
    order = scores.ranking()
    return order[torch.isin(order, parts_of(model, component))]  # without those of layers that have none


def _group_size(model: Model) -> int:
    return model.sizes.n_heads // model.sizes.n_kv_heads


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
    model = answers.model
    order = ranked_order(_importance(answers, component, Removal()), model, component)
    for count, next_count in pairwise(counts):
        if 0 < count < next_count:
            scores = _importance(answers, component, first_parts(model, component, order, count))
            removed, ranking = order[:count], ranked_order(scores, model, component)
            order = torch.cat([removed, ranking[~torch.isin(ranking, removed)]])
    return order


def _importance(answers: PrunedAnswers, component: Component, removal: Removal) -> Scores:
    """Return importance on the documents' task in the model without these parts."""
    encoded, batch_size = answers.encoded, answers.batch_size
    task = encoded.task
    shots, limit, seed = (encoded.settings[name] for name in ("shots", "limit", "seed"))
    with answers.ablated(removal) as model:
        if component == "ffns":
            values = answers.replacement
            kind = "zero" if values is None else values.kind
            return ffn_importance(
                model, task, shots, limit, kind=kind, reference=values, seed=seed, batch_size=batch_size
            )
        examples = task.examples(shots, EXAMPLES, seed=seed)
        if component == "experts":
            return expert_importance(model, examples, encoding=task.encoding, batch_size=batch_size)
        return head_importance(model, examples, reduction=RECOMPUTED_BY, encoding=task.encoding, batch_size=batch_size)
