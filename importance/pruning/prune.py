"""Accuracy as parts are removed: along one ranking of heads or feed-forward networks, or along both at once."""

from collections.abc import Iterable, Sequence
from typing import Any, Literal, get_args

import torch

from headcount.importance.ablation.ablated import Reference, ablation_record, task_replacement
from headcount.importance.evaluation import EncodedTask, encode_task
from headcount.importance.pruning.orders import (
    RECOMPUTED_BY,
    Scores,
    first_parts,
    random_order,
    ranked_order,
    recomputed_order,
    removal_steps,
)
from headcount.importance.pruning.pruned_answers import Component, Parts, PrunedAnswers, Removal, n_parts, parts_of
from headcount.importance.tasks.task import Task
from headcount.results import HeadScores, InputError, LayerScores, PruningCurve, PruningGrid
from headcount.results.internal import checks
from headcount.tracing import BatchSize, Model, Progress
from headcount.tracing.internal import AblationKind

LOG_P = "log_p"
"""The extra of FFN importance that orders equal drops of accuracy."""

Strategy = Literal["static", "recomputed", "random"]


def prune(
    model: Model,
    task: Task,
    order: Scores | None = None,
    component: Component = "heads",
    percents: Iterable[float] = range(0, 100, 10),
    strategy: Strategy = "static",
    seeds: Sequence[int] = (0,),
    *,
    kind: AblationKind = "zero",
    reference: Reference = None,
    shots: int = 0,
    limit: int | None = None,
    seed: int = 0,
    batch_size: BatchSize = "auto",
    progress: Progress | None = None,
) -> PruningCurve:
    """Measure accuracy on a task as more and more heads, feed-forward networks, KV groups or experts are removed.

    Of N parts, the first floor(percent · N / 100) of an order are removed at each step; removals are nested.

    * `static`: the order of one ranking, the least important first (the paper);
    * `recomputed`: importance on this task is measured again on the pruned model before each step;
    * `random`: one random order for each of `seeds`, the control of a ranking.

    Args:
        model: The whole model.
        task: From `load_task`.
        order: Scores that rank the parts, for `static`; of this task, of another, or an aggregate.
        component: `heads`, `ffns`, `kv_groups` (ranked by the mean of their heads' scores) or `experts`.
        percents: The percentages of parts removed; 0, the whole model, is always measured.
        strategy: One of the three.
        seeds: One random order each, for `random`.
        kind: The kind of ablation of removed heads, KV groups and feed-forward networks; see `ablated`.
        reference: As for `ffn_importance`. Means and other values are those of the whole model.
        shots: Solved examples in front of each document.
        limit: Documents at most.
        seed: Seed of the shots, and of the draws of `resample`.
        batch_size: Documents run together.
        progress: Called after each batch with the number of documents in it.

    Returns:
        The curve, with every document's answer at every step.

    Raises:
        InputError: An argument is out of range, or the order does not fit the model.

    Source: Bansal et al. 2023, who prune along one ranking.
    """
    encoded = encode_task(model, task, shots, limit, seed)
    answers = answers_with(model, encoded, kind, reference, batch_size, progress)
    return pruning_curve(answers, order, component, percents, strategy, seeds)


def prune_grid(
    model: Model,
    task: Task,
    heads: HeadScores,
    ffns: LayerScores,
    *,
    head_percents: Iterable[float] = range(0, 80, 10),
    ffn_percents: Iterable[float] = range(0, 60, 10),
    kind: AblationKind = "zero",
    reference: Reference = None,
    shots: int = 0,
    limit: int | None = None,
    seed: int = 0,
    batch_size: BatchSize = "auto",
    progress: Progress | None = None,
) -> PruningGrid:
    """Measure accuracy on a task as heads and feed-forward networks are removed together, each along its own ranking.

    Args:
        model: The whole model.
        task: From `load_task`.
        heads: Scores that rank the heads.
        ffns: Scores that rank the feed-forward networks.
        head_percents: Percentages of heads, across the grid; 0 is always measured.
        ffn_percents: Percentages of feed-forward networks, down the grid; 0 is always measured.
        kind: As for `prune`.
        reference: As for `prune`.
        shots: Solved examples in front of each document.
        limit: Documents at most.
        seed: As for `prune`.
        batch_size: Documents run together.
        progress: Called after each batch with the number of documents in it.

    Raises:
        InputError: An argument is out of range, or a ranking does not fit the model.

    Source: Bansal et al. 2023, who remove both together.
    """
    encoded = encode_task(model, task, shots, limit, seed)
    answers = answers_with(model, encoded, kind, reference, batch_size, progress)
    return pruning_grid(answers, heads, ffns, head_percents, ffn_percents)


def answers_with(
    model: Model,
    encoded: EncodedTask,
    kind: AblationKind = "zero",
    reference: Reference = None,
    batch_size: BatchSize = "auto",
    progress: Progress | None = None,
) -> PrunedAnswers:
    """Return the answers to a task's documents by removal, with a kind of ablation."""
    values = task_replacement(model, encoded, kind, reference, batch_size)
    return PrunedAnswers(model, encoded, batch_size, progress, values)


def pruning_curve(
    answers: PrunedAnswers,
    order: Scores | None,
    component: Component,
    percents: Iterable[float],
    strategy: Strategy = "static",
    seeds: Sequence[int] = (0,),
) -> PruningCurve:
    """Run `prune` on answers that remember earlier removals."""
    _check(component, strategy, order, seeds)
    if component == "experts" and answers.replacement is not None:
        raise InputError("experts are removed by zeros, as weights of their router: leave out kind=, or remove heads")
    steps, counts = removal_steps(percents, n_parts(answers.model, component))
    used_seeds = tuple(seeds) if strategy == "random" else (0,)
    orders = _orders(answers, order, component, counts, strategy, used_seeds)
    model = answers.model
    removals = [[first_parts(model, component, parts, count) for count in counts] for parts in orders]
    parameters = torch.tensor(
        [[answers.parameters(removal) for removal in row] for row in removals], dtype=torch.float64
    )
    return PruningCurve(
        component=component,
        strategy=strategy,
        percents=steps,
        removed=tuple(counts),
        parameters=tuple(parameters.mean(0).tolist()),
        seeds=used_seeds,
        order=torch.stack(orders),
        **_answer_fields(answers, removals),
        provenance=answers.encoded.provenance(
            model,
            strategy=strategy,
            component=component,
            percents=list(steps),
            seeds=list(used_seeds),
            ranking=recomputed_ranking(component) if strategy == "recomputed" else _ranking_provenance(order),
            **({} if strategy == "random" else {"ties": _ties_of_order(order, component)}),
            **ablation_record(answers.replacement),
        ),
    )


def recomputed_ranking(component: Component) -> dict[str, Any] | None:
    """Return the part of the provenance on importance of heads that is measured again at each step; None of others."""
    if component not in ("heads", "kv_groups"):
        return None
    return {"measure": "head_importance", "definition": f"gradient, {RECOMPUTED_BY}"}


def pruning_grid(
    answers: PrunedAnswers,
    heads: HeadScores,
    ffns: LayerScores,
    head_percents: Iterable[float],
    ffn_percents: Iterable[float],
) -> PruningGrid:
    """Run `prune_grid` on answers that remember earlier removals."""
    model = answers.model
    head_order, ffn_order = ranked_order(heads, model, "heads"), ranked_order(ffns, model, "ffns")
    across, head_counts = removal_steps(head_percents, len(head_order))
    down, ffn_counts = removal_steps(ffn_percents, len(ffn_order))
    head_removals = [first_parts(model, "heads", head_order, count).heads for count in head_counts]
    ffn_removals = [first_parts(model, "ffns", ffn_order, count).ffns for count in ffn_counts]
    removals = [
        [Removal(removed_heads, removed_ffns) for removed_heads in head_removals] for removed_ffns in ffn_removals
    ]
    return PruningGrid(
        ffn_percents=down,
        head_percents=across,
        parameters=tuple(tuple(answers.parameters(removal) for removal in row) for row in removals),
        **_answer_fields(answers, removals),
        provenance=answers.encoded.provenance(
            answers.model,
            head_percents=list(across),
            ffn_percents=list(down),
            rankings={"heads": _ranking_provenance(heads), "ffns": _ranking_provenance(ffns)},
            **ablation_record(answers.replacement),
        ),
    )


def _check(component: str, strategy: str, order: Scores | None, seeds: Sequence[int]) -> None:
    if component not in get_args(Component):
        raise InputError(
            f"component must be one of {', '.join(get_args(Component))}, not {component!r}; prune_grid removes heads "
            "and ffns together"
        )
    if strategy not in get_args(Strategy):
        raise InputError(f"strategy must be one of {', '.join(get_args(Strategy))}, not {strategy!r}")
    if (order is not None) != (strategy == "static"):
        needed = "needs order=, scores that rank the parts" if order is None else "ranks by itself: leave out order="
        raise InputError(f"the strategy {strategy!r} {needed}")
    if strategy == "random":
        if not seeds or len(set(seeds)) < len(seeds):
            raise InputError(f"seeds must be whole numbers of 0 or more, each once, not {seeds!r:.80}")
        for seed in seeds:
            checks.check_seed(seed)


def _orders(
    answers: PrunedAnswers,
    scores: Scores | None,
    component: Component,
    counts: Sequence[int],
    strategy: Strategy,
    seeds: Sequence[int],
) -> list[Parts]:
    """Return the orders of removal: one, or one for each seed."""
    model = answers.model
    if strategy == "recomputed":
        return [recomputed_order(answers, component, counts)]
    if scores is not None:
        return [ranked_order(scores, model, component)]
    return [random_order(parts_of(model, component), seed) for seed in seeds]


def _answer_fields(answers: PrunedAnswers, removals: list[list[Removal]]) -> dict[str, Any]:
    """Return the fields of a curve or grid that hold every document's answer for each removal of a table."""
    table = [[answers.without(removal) for removal in row] for row in removals]
    by_document = {
        name: torch.stack([torch.stack([getattr(cell, name) for cell in row]) for row in table])
        for name in ("correct", "gold_log_p", "margin", "greedy")
    }
    return {**by_document, "chance": answers.encoded.chance, "majority": answers.encoded.majority}


def _ties_of_order(order: Scores | None, component: Component) -> str:
    """Return what orders equal scores; an order that is measured again at each step has its own."""
    return _ties(order) if order is not None else LOG_P if component == "ffns" else "position"


def _ranking_provenance(scores: Scores | None) -> dict[str, Any] | None:
    """Return the part of a ranking's provenance that the results of its removals carry."""
    if scores is None:
        return None
    names = ("task", "shots", "aggregate", "limit", "seed")
    known = {name: scores.provenance[name] for name in names if name in scores.provenance}
    return {"measure": scores.measure, "definition": scores.definition, "n": scores.n, "ties": _ties(scores), **known}


def _ties(scores: Scores) -> str:
    """Return what orders equal scores, besides their positions."""
    return LOG_P if LOG_P in scores.extras else "position"
