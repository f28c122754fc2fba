"""Accuracy as parts are removed: along one ranking of heads or feed-forward networks, or along both at once."""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from math import floor
from typing import Any, Literal, get_args

import torch

from headcount.importance.evaluation import Judged, ask
from headcount.importance.measure import ffn_importance, head_importance
from headcount.importance.pruning.sweep import Component, Parts, Removal, Sweep, n_parts
from headcount.importance.tasks.task import Task
from headcount.results import HeadScores, InputError, LayerScores, PruningCurve, PruningGrid
from headcount.results.storage.field_types import is_whole
from headcount.tracing import BatchSize, Model, Progress, masked

Strategy = Literal["static", "recomputed", "random"]
Scores = HeadScores | LayerScores

EXAMPLES = 100
"""Examples that rank the heads again before each step of the strategy `recomputed`."""


def prune(
    model: Model,
    task: Task,
    order: Scores | None = None,
    component: Component = "heads",
    percents: Iterable[float] = range(0, 100, 10),
    strategy: Strategy = "static",
    seeds: Sequence[int] = (0,),
    *,
    shots: int = 0,
    limit: int | None = None,
    seed: int = 0,
    batch_size: BatchSize = "auto",
    progress: Progress | None = None,
) -> PruningCurve:
    """Accuracy on a task as more and more heads, or feed-forward networks, are removed.

    Of N parts, the first floor(percent · N / 100) of an order go at each step; removals are nested.

    * `static`: the order of one ranking, the least important first (the paper);
    * `recomputed`: importance on this task is measured again on the pruned model before each step;
    * `random`: one random order for each of `seeds`, the control that a ranking has to beat.

    Args:
        model: The whole model.
        task: From `load_task`.
        order: Scores that rank the parts, for `static`; of this task, of another, or an aggregate.
        component: `heads` or `ffns`.
        percents: The share of parts removed at each step; 0, the whole model, is always measured.
        strategy: One of the three.
        seeds: One random order each, for `random`.
        shots: Solved examples in front of each document.
        limit: Documents at most.
        seed: Seed of the shots.
        batch_size: Documents run together.
        progress: Told of every batch that is done, in documents.

    Returns:
        The curve, with every document's answer at every step.

    Raises:
        InputError: An argument is out of range, or the order does not fit the model.

    Source: Bansal et al. 2023, who prune along one ranking.
    """
    sweep = Sweep(model, ask(model, task, shots, limit, seed), batch_size, progress)
    return curve(sweep, order, component, percents, strategy, seeds)


def prune_grid(
    model: Model,
    task: Task,
    heads: HeadScores,
    ffns: LayerScores,
    *,
    head_percents: Iterable[float] = range(0, 80, 10),
    ffn_percents: Iterable[float] = range(0, 60, 10),
    shots: int = 0,
    limit: int | None = None,
    seed: int = 0,
    batch_size: BatchSize = "auto",
    progress: Progress | None = None,
) -> PruningGrid:
    """Accuracy on a task as heads and feed-forward networks are removed together, each along its own ranking.

    Args:
        model: The whole model.
        task: From `load_task`.
        heads: Scores that rank the heads.
        ffns: Scores that rank the feed-forward networks.
        head_percents: Shares of heads, across the grid; 0 is always measured.
        ffn_percents: Shares of feed-forward networks, down the grid; 0 is always measured.
        shots: Solved examples in front of each document.
        limit: Documents at most.
        seed: Seed of the shots.
        batch_size: Documents run together.
        progress: Told of every batch that is done, in documents.

    Raises:
        InputError: An argument is out of range, or a ranking does not fit the model.

    Source: Bansal et al. 2023, who remove both together.
    """
    sweep = Sweep(model, ask(model, task, shots, limit, seed), batch_size, progress)
    return grid(sweep, heads, ffns, head_percents, ffn_percents)


def curve(
    sweep: Sweep,
    order: Scores | None,
    component: Component,
    percents: Iterable[float],
    strategy: Strategy = "static",
    seeds: Sequence[int] = (0,),
) -> PruningCurve:
    """`prune` on a sweep, which remembers what was run before."""
    _check(component, strategy, order)
    if strategy == "random":
        _check_seeds(seeds)
    steps, counts = steps_of(percents, n_parts(sweep.model.sizes, component))
    used = tuple(seeds) if strategy == "random" else (0,)
    if strategy == "recomputed":
        orders = [_ranked_again(sweep, component, counts)]
    elif order is not None:
        orders = [_ranking(order, sweep, component)]
    else:
        orders = [_shuffled(n_parts(sweep.model.sizes, component), one) for one in used]
    removals = [[_first(component, ranked, count) for count in counts] for ranked in orders]
    parameters = torch.tensor([[sweep.count(removal) for removal in row] for row in removals], dtype=torch.float64)
    return PruningCurve(
        component=component,
        strategy=strategy,
        percents=steps,
        removed=tuple(counts),
        parameters=tuple(parameters.mean(0).tolist()),
        seeds=used,
        order=torch.stack(orders),
        **_answers(sweep, removals),
        chance=sweep.chance,
        majority=sweep.majority,
        provenance=sweep.asked.provenance(
            sweep.model,
            strategy=strategy,
            component=component,
            percents=list(steps),
            seeds=list(used),
            ranking=_described(order),
        ),
    )


def grid(
    sweep: Sweep, heads: HeadScores, ffns: LayerScores, head_percents: Iterable[float], ffn_percents: Iterable[float]
) -> PruningGrid:
    """`prune_grid` on a sweep, which remembers what was run before."""
    head_order, ffn_order = _ranking(heads, sweep, "heads"), _ranking(ffns, sweep, "ffns")
    across, heads_gone = steps_of(head_percents, len(head_order))
    down, ffns_gone = steps_of(ffn_percents, len(ffn_order))
    removals = [
        [Removal(_first("heads", head_order, head).heads, _first("ffns", ffn_order, ffn).ffns) for head in heads_gone]
        for ffn in ffns_gone
    ]
    return PruningGrid(
        ffn_percents=down,
        head_percents=across,
        parameters=tuple(tuple(sweep.count(removal) for removal in row) for row in removals),
        **_answers(sweep, removals),
        chance=sweep.chance,
        majority=sweep.majority,
        provenance=sweep.asked.provenance(
            sweep.model,
            head_percents=list(across),
            ffn_percents=list(down),
            rankings={"heads": _described(heads), "ffns": _described(ffns)},
        ),
    )


def _check(component: str, strategy: str, order: Scores | None) -> None:
    if component not in get_args(Component):
        raise InputError(f"component must be heads or ffns, not {component!r}; prune_grid removes both")
    if strategy not in get_args(Strategy):
        raise InputError(f"strategy must be one of {', '.join(get_args(Strategy))}, not {strategy!r}")
    if (order is not None) != (strategy == "static"):
        needed = "needs order=, scores that rank the parts" if order is None else "ranks by itself: leave out order="
        raise InputError(f"the strategy {strategy!r} {needed}")


def _check_seeds(seeds: Sequence[int]) -> None:
    if not seeds or len(set(seeds)) < len(seeds) or not all(is_whole(seed) and seed >= 0 for seed in seeds):
        raise InputError(f"seeds must be whole numbers of 0 or more, each once, not {seeds!r:.80}")


def steps_of(percents: Iterable[float], parts: int) -> tuple[tuple[float, ...], list[int]]:
    """The steps of a removal in ascending order, the whole model first, and how many of the parts go at each.

    Raises:
        InputError: A percentage is out of range.
    """
    if isinstance(percents, str):
        raise InputError(f"expected percents as a list of numbers, got the text {percents!r:.40}")
    steps = tuple(sorted({0.0, *map(float, percents)}))
    if not all(0 <= step <= 100 for step in steps):
        raise InputError(f"expected percents from 0 to 100, got {steps[0]:g} to {steps[-1]:g}")
    return steps, [floor(percent * parts / 100) for percent in steps]


def _ranking(order: Scores, sweep: Sweep, component: Component) -> Parts:
    """All parts, the least important first."""
    expected, sizes = HeadScores if component == "heads" else LayerScores, sweep.model.sizes
    shape = (sizes.n_layers, sizes.n_heads) if component == "heads" else (sizes.n_layers,)
    if not isinstance(order, expected) or order.shape != shape:
        got = f"{type(order).__name__} of shape {list(getattr(order, 'shape', []))}"
        raise InputError(f"to remove {component} expected {expected.__name__} of shape {list(shape)}, got {got}")
    return order.ranking()


def _shuffled(parts: int, seed: int) -> Parts:
    return torch.randperm(parts, generator=torch.Generator().manual_seed(seed))


def _first(component: Component, order: Parts, count: int) -> Removal:
    gone = tuple(sorted(order[:count].tolist()))
    return Removal(heads=gone) if component == "heads" else Removal(ffns=gone)


def _ranked_again(sweep: Sweep, component: Component, counts: Sequence[int]) -> Parts:
    """All parts in the order of their removal, those that are left ranked again before each step."""
    order = _importance(sweep, component, Removal()).ranking()
    for done, count in pairwise(counts):
        if done < count and done > 0:
            scores = _importance(sweep, component, _first(component, order, done))
            gone = order[:done]
            left = scores.ranking()
            order = torch.cat([gone, left[~torch.isin(left, gone)]])
    return order


def _importance(sweep: Sweep, component: Component, removal: Removal) -> Scores:
    """Importance on the sweep's task in the model without these parts."""
    asked, (heads, ffns) = sweep.asked, sweep.masks(removal)
    shots, limit, seed = (asked.settings[name] for name in ("shots", "limit", "seed"))
    with masked(sweep.model, heads, ffns) as model:
        if component == "ffns":
            return ffn_importance(model, asked.task, shots, limit, seed=seed, batch_size=sweep.batch_size)
        examples = asked.task.examples(shots, EXAMPLES, seed=seed)
        return head_importance(model, examples, encoding=asked.task.encoding, batch_size=sweep.batch_size)


def _answers(sweep: Sweep, removals: list[list[Removal]]) -> dict[str, Any]:
    """Every document's answer for each removal of a table."""
    found: list[list[Judged]] = [[sweep.run(removal) for removal in row] for row in removals]
    names = ("correct", "gold_log_p", "margin")
    return {name: torch.stack([torch.stack([getattr(one, name) for one in row]) for row in found]) for name in names}


def _described(order: Scores | None) -> dict[str, Any] | None:
    """What a ranking is, for the provenance of what it was used for."""
    if order is None:
        return None
    said = ("task", "shots", "aggregate", "limit", "seed")
    known = {name: order.provenance[name] for name in said if name in order.provenance}
    return {"measure": order.measure, "definition": order.definition, "n": order.n, **known}
