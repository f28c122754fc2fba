"""Layouts of a study on several devices: copies of the model, each on as few devices as hold it.

The layers of one copy are spread over its devices and run one after another, so that a copy is as fast as one device.
More copies share the units, as the workers of `study --ray` do (`headcount.cluster`): the layout with the most copies
that fit finishes first.
"""

import heapq
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count

from headcount.planning.costs import Cost, pass_cost
from headcount.planning.hardware import Hardware
from headcount.planning.memory import weight_bytes
from headcount.planning.shape import Shape
from headcount.results import Run
from headcount.study import Schedule, Unit
from headcount.tracing.internal import ModelPass

Steps = list[list[tuple[ModelPass, Cost]]]
"""The passes of every unit, each with its cost."""


@dataclass(frozen=True)
class Layout:
    """Copies of the model, and the time in which they finish a study together.

    Attributes:
        copies: The number of copies that measure at once.
        on: The devices of one copy.
        costs: The cost of every unit, all units measured by one copy.
        seconds: The time from start to end, with the units handed out to the copies.
    """

    copies: int
    on: Hardware
    costs: tuple[Cost, ...]
    seconds: float


def choose_layout(units: Sequence[Unit], run: Run, shape: Shape, hardware: Hardware) -> Layout:
    """Return the layout that finishes first: as many copies as fit; one on all devices if no other layout fits.

    Args:
        units: The units of the study, in order.
        run: The run, which has no results yet.
        shape: The model.
        hardware: All devices.
    """
    work = [tuple(unit.work()) for unit in units]
    for copies, on in _divisions(hardware, shape):
        steps = _steps(work, shape, on, must_fit=on.devices < hardware.devices)
        if steps is not None:
            return Layout(copies, on, _in_one_copy(units, steps), _finish(units, run, steps, copies))
    raise AssertionError("the last division has all devices, and need not fit")


def _steps(work: Sequence[Sequence[ModelPass]], shape: Shape, on: Hardware, *, must_fit: bool) -> Steps | None:
    """The passes of every unit with their costs; None if one must fit and does not."""
    steps: Steps = []
    for passes in work:
        steps.append([(each, pass_cost(each, shape, on)) for each in passes])
        if must_fit and not all(cost.fits for _, cost in steps[-1]):
            return None
    return steps


def _divisions(hardware: Hardware, shape: Shape) -> Iterator[tuple[int, Hardware]]:
    """Numbers of copies with the devices of each, the most copies first, where the weights fit."""
    sizes = sorted({hardware.devices // (hardware.devices // n) for n in range(1, hardware.devices + 1)})
    for devices in sizes:
        if weight_bytes(shape, devices) < hardware.memory or devices == hardware.devices:
            yield hardware.devices // devices, replace(hardware, devices=devices)


def _in_one_copy(units: Sequence[Unit], steps: Steps) -> tuple[Cost, ...]:
    remembered: set[Hashable] = set()
    return tuple(_cost(unit, work, remembered) for unit, work in zip(units, steps, strict=True))


def _cost(unit: Unit, work: list[tuple[ModelPass, Cost]], remembered: set[Hashable]) -> Cost:
    """The cost of a unit in a process that remembers the results of some passes."""
    cost = Cost(unit.title, unit.names)
    for model_pass, pass_costs in work:
        if model_pass.key is None or model_pass.key not in remembered:
            cost = cost.plus(pass_costs)
            remembered |= {model_pass.key} - {None}
    return cost


def _finish(units: Sequence[Unit], run: Run, steps: Steps, copies: int) -> float:
    """Seconds until the last unit is done: a schedule hands the units out as it does to the workers of a cluster."""
    work = {unit.names[0]: passes for unit, passes in zip(units, steps, strict=True)}
    schedule = Schedule(units, run)
    remembered: list[set[Hashable]] = [set() for _ in range(copies)]
    order = count()  # decides between events of one time
    free, now = list(range(copies)), 0.0
    busy: list[tuple[float, int, int, Unit]] = []
    while schedule.left or busy:
        for copy in tuple(free):
            if (unit := schedule.take(copy)) is not None:
                free.remove(copy)
                seconds = _cost(unit, work[unit.names[0]], remembered[copy]).seconds
                heapq.heappush(busy, (now + seconds, next(order), copy, unit))
        now, _, copy, unit = heapq.heappop(busy)
        schedule.settle(unit)
        free.append(copy)
    return now
