"""The work of pruning units: passes over a task's documents without some parts (see `tracing.work`).

Passes that remove the same parts have one key, and are run once: `own` stands for the task's ranking, `random 0` for
the random order of seed 0. Where no part or every part of a kind is removed, the order does not matter.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import product

from headcount.importance.internal import (
    EXAMPLES,
    Component,
    TaskSetup,
    document_items,
    example_items,
    n_parts,
    removal_steps,
)
from headcount.tracing import Model
from headcount.tracing.internal import Kind, ModelPass


def curve_work(
    model: Model, setup: TaskSetup, component: Component, orders: Sequence[str], percents: Sequence[float]
) -> list[ModelPass]:
    """Return the work of curves along some orders."""
    counts = _counts(model, component, percents)
    return [_without_first(model, setup, component, order, count) for order in orders for count in counts]


def grid_work(
    model: Model, setup: TaskSetup, head_percents: Sequence[float], ffn_percents: Sequence[float]
) -> list[ModelPass]:
    """Return the work of a grid along the task's rankings."""
    pairs = product(_counts(model, "heads", head_percents), _counts(model, "ffns", ffn_percents))
    return [_without(model, setup, "own", heads, "own", ffns) for heads, ffns in pairs]


def recomputed_work(
    model: Model, setup: TaskSetup, component: Component, percents: Sequence[float], *, same_as_own: bool
) -> list[ModelPass]:
    """Return the work of a curve with importance measured again before each step that removes more parts.

    Importance is counted at the whole model's operations.

    Args:
        model: The model.
        setup: The task.
        component: The parts to remove.
        percents: The steps.
        same_as_own: True if the task's own ranking was measured alike, so that both remove the same parts first.
    """
    steps = sorted(set(_counts(model, component, percents)) - {0})
    if component == "ffns":
        importance = ModelPass(Kind.FFN_ORACLE, document_items(model, setup))
    else:
        importance = ModelPass(Kind.GRADIENTS, example_items(model, replace(setup, limit=EXAMPLES)))
    first = "own" if same_as_own else "recomputed"
    orders = {0: "", **dict.fromkeys(steps, "recomputed"), **dict.fromkeys(steps[:1], first)}
    removals = [_without_first(model, setup, component, order, count) for count, order in orders.items()]
    return [importance] * max(1, len(steps)) + removals


def _counts(model: Model, component: Component, percents: Sequence[float]) -> list[int]:
    """The number of parts removed at each step, 0 first."""
    return removal_steps(percents, n_parts(model, component))[1]


def _without_first(model: Model, setup: TaskSetup, component: Component, order: str, count: int) -> ModelPass:
    if component == "ffns":
        return _without(model, setup, "", 0, order, count)
    if component == "experts":  # the others of a layer still run for each token
        key = (setup.name, f"experts {order}" if count else "", count, "", 0)
        return ModelPass(Kind.FORWARD, document_items(model, setup), key=key)
    if component == "kv_groups":
        return _without(model, setup, f"groups {order}", count * model.sizes.n_heads // model.sizes.n_kv_heads, "", 0)
    return _without(model, setup, order, count, "", 0)


def _without(model: Model, setup: TaskSetup, head_order: str, heads: int, ffn_order: str, ffns: int) -> ModelPass:
    """The documents without the first parts of each order."""
    by_heads = head_order if 0 < heads < n_parts(model, "heads") else ""
    by_ffns = ffn_order if 0 < ffns < n_parts(model, "ffns") else ""
    key = (setup.name, by_heads, heads, by_ffns, ffns)
    return ModelPass(Kind.FORWARD, document_items(model, setup), heads, ffns, key=key)
