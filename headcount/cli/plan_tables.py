"""Costs as tables in the terminal: of a plan, and of a study's units."""

from collections.abc import Sequence
from typing import Any

from headcount.cli.tables import print_rows, print_text
from headcount.planning import Cost, Layout, Plan, PlanRow


def print_units(costs: Sequence[Cost]) -> None:
    """Print the units of a study with their costs."""
    print_rows(
        [
            {
                "unit": cost.title,
                "state": "done" if cost.done else "to do",
                "FLOPs": "" if cost.done else _operations(cost.flops),
                "peak memory": "" if cost.done else _bytes(cost.memory.total),
                "time": "" if cost.done else _time(cost.seconds),
            }
            for cost in costs
        ]
    )
    missing = [cost for cost in costs if not cost.done]
    hours = sum(cost.seconds for cost in missing) / 3600
    print_text(
        f"{len(costs) - len(missing)} of {len(costs)} units are done; the rest takes about {hours:.1f} hours here"
    )


def print_plan(plan: Plan) -> None:
    """Print the costs of a study's parts, the hardware, and the assumptions."""
    print_text(f"{plan.model}: {plan.about}")
    print_text(f"on {plan.on.name}: {plan.on.source}")
    rows = (*plan.rows, plan.total)
    print_rows([_work(row) for row in rows], no_wrap=True)
    print_rows([_memory_and_requests(row) for row in rows], no_wrap=True)
    print_text(_layout(plan.layout))
    for sentence in plan.assumed:
        print_text(f"- {sentence}")


def _layout(layout: Layout) -> str:
    """The sentence on the layout that finishes first."""
    devices = layout.on.devices
    held = f"{devices} devices hold the model" if devices > 1 else "one device holds the model"
    if layout.copies == 1:
        return f"{held}; the study ends after {_time(layout.seconds)}"
    return (
        f"{held}; {layout.copies} copies of it (study --ray --gpus-per-model {devices}) end the study after "
        f"{_time(layout.seconds)}, one copy after {_time(sum(cost.seconds for cost in layout.costs))}"
    )


def _work(row: PlanRow) -> dict[str, Any]:
    return {
        "part": row.name,
        "units": f"{row.units:,}",
        "FLOPs": _operations(row.cost.flops),
        "weights read": _bytes(row.cost.weight_bytes),
        "time": _time(row.cost.seconds),
    }


def _memory_and_requests(row: PlanRow) -> dict[str, Any]:
    """The peak on one device, and the requests of a remote run."""
    cost, memory = row.cost, row.cost.memory
    return {
        "part": row.name,
        "weights": _bytes(memory.weights),
        "activations": _bytes(memory.activations),
        "logits": _bytes(memory.logits),
        "fits": "" if not cost.flops else "yes" if cost.fits else "no",
        "requests": f"{cost.requests:,}",
        "up": _bytes(cost.up),
        "down": _bytes(cost.down),
    }


def _operations(number: float) -> str:
    return f"{number:.2e}" if number else ""


def _bytes(number: float) -> str:
    """Bytes in the unit that shows them in about three digits."""
    for unit, size in (("PB", 1e15), ("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if number >= size:
            return f"{number / size:.3g} {unit}" if number < 1000 * size else f"{number / size:,.0f} {unit}"
    return ""


def _time(seconds: float) -> str:
    if seconds >= 3600:
        return f"{seconds / 3600:,.1f} h"
    return f"{seconds / 60:.1f} min" if seconds >= 6 else "seconds" if seconds else ""
