"""Costs of units of work on given hardware: operations, bytes, memory, requests, seconds.

The one model of costs, for `plan` and for `study --dry-run`. Batches are those that the measurements run.
"""

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

from headcount.planning import flops
from headcount.planning.flops import Flops
from headcount.planning.hardware import Hardware, choose_hardware
from headcount.planning.memory import Memory, batch_memory, cut_bytes, weight_bytes
from headcount.planning.requests import bytes_received, bytes_sent
from headcount.planning.seconds import pass_seconds, weights_read
from headcount.planning.shape import BatchTotals, Remaining, Shape
from headcount.results import Run
from headcount.study import Unit
from headcount.tracing import Model
from headcount.tracing.internal import Item, Items, Kind, ModelPass, fit_beside, planned_batches

WEIGHED_ON = "A100-80GB"
"""The device of `relative_seconds`."""


class Cost(NamedTuple):
    """The cost of a unit of work, or of several.

    Attributes:
        title: The title of the unit.
        names: The results that it leaves.
        done: True if the run has them already, so that nothing more is spent.
        flops: Operations of matrix products.
        weight_bytes: Bytes of weights that are read.
        memory: The peak on the device that holds most.
        fits: True if that device has so much memory.
        requests: The number of requests of a remote run, one a batch.
        up: Bytes sent to the server.
        down: Bytes received from it.
        seconds: About how long it takes.
    """

    title: str = ""
    names: tuple[str, ...] = ()
    done: bool = False
    flops: float = 0.0
    weight_bytes: float = 0.0
    memory: Memory = Memory()
    fits: bool = True
    requests: int = 0
    up: int = 0
    down: int = 0
    seconds: float = 0.0

    def plus(self, other: "Cost") -> "Cost":
        """Return the sum of two costs, under this title; memory is the larger of the two."""
        added = ("flops", "weight_bytes", "requests", "up", "down", "seconds")
        sums = {name: getattr(self, name) + getattr(other, name) for name in added}
        return self._replace(**sums, memory=self.memory.larger(other.memory), fits=self.fits and other.fits)


def unit_costs(units: Sequence[Unit], shape: Shape, on: Hardware, run: Run | None = None) -> list[Cost]:
    """Return the cost of every unit, in order: passes whose results an earlier unit left in memory are not run again.

    Args:
        units: The units, in the order in which they are measured.
        shape: The model.
        on: The hardware.
        run: The run, whose results are not measured again; None for a new run.
    """
    remembered: set[Hashable] = set()
    costs = []
    for unit in units:
        cost = Cost(unit.title, unit.names, run is not None and unit.done(run, unit.inputs(run)))
        for model_pass in () if cost.done else unit.work():
            if model_pass.key is None or model_pass.key not in remembered:
                cost = cost.plus(pass_cost(model_pass, shape, on))
                remembered |= {model_pass.key} - {None}
        costs.append(cost)
    return costs


def relative_seconds(model: Model, units: Sequence[Unit]) -> list[float]:
    """Return the seconds of each unit on one known device without a limit of memory, to weigh units by.

    The device is always the same, so that all processes of a job array divide a study alike.
    """
    shape = Shape.of(model)
    device = replace(choose_hardware(WEIGHED_ON, shape, model.dtype), memory=math.inf)
    return [cost.seconds for cost in unit_costs(units, shape, device)]


def pass_cost(model_pass: ModelPass, shape: Shape, on: Hardware) -> Cost:
    """Return the cost of one pass over its items."""
    kind = model_pass.kind
    remaining = Remaining.of(shape, model_pass.heads, model_pass.networks)
    weights = weight_bytes(shape, on.devices, copy=model_pass.copy and on.kind == "cpu")
    if model_pass.heads and not shape.masked:
        free, copies = on.memory - weights, cut_bytes(shape, on.devices, remaining.heads)
        weights += copies if fit_beside(copies, free) else copies / -(-shape.sizes.n_layers // on.devices)
    batched = in_batches(model_pass.items, kind, shape, on, max(0.0, on.memory - weights))
    peak = batched.memory._replace(weights=weights)
    operations = FLOPS[kind](shape, batched.totals, remaining).total
    return Cost(
        flops=operations,
        weight_bytes=batched.batches * weights_read(shape, kind, remaining),
        memory=peak,
        fits=peak.total <= on.memory,
        requests=batched.batches,
        up=batched.up,
        down=batched.down,
        seconds=pass_seconds(model_pass, shape, on, batched.totals, batched.batches, operations),
    )


@dataclass(frozen=True)
class Batched:
    """Items in the batches in which they would be run.

    Attributes:
        totals: Sums over batches, padding included.
        batches: The number of batches.
        memory: The memory of the largest batch beside the weights.
        up: Bytes of their requests.
        down: Bytes of the answers.
    """

    totals: BatchTotals
    batches: int
    memory: Memory
    up: int
    down: int


@lru_cache(maxsize=4096)
def in_batches(items: Items, kind: Kind, shape: Shape, on: Hardware, free: float) -> Batched:
    """Divide items into batches as the measurements do, each halved until it fits into `free` bytes."""

    def needed(batch: list[int]) -> Memory:
        return batch_memory(shape, kind, [items.items[index] for index in batch], on.devices)

    def fits(batch: list[int]) -> bool:
        return len(batch) == 1 or needed(batch).total <= free

    lengths = [item.pos for item in items.items]
    indices = planned_batches(lengths, items.batch_size or "auto", on.kind, fits)
    batches = [[items.items[index] for index in batch] for batch in indices]
    return Batched(
        _totals(batches),
        len(batches),
        max(map(needed, indices), key=lambda memory: memory.total),
        sum(map(bytes_sent, batches)),
        sum(bytes_received(shape, kind, batch) for batch in batches),
    )


def _totals(batches: list[list[Item]]) -> BatchTotals:
    rows = [(len(batch), max(item.pos for item in batch), max(item.pairs for item in batch)) for batch in batches]
    return BatchTotals(
        tokens=sum(n * pos for n, pos, _ in rows),
        squares=sum(n * pos * pos for n, pos, _ in rows),
        logits=sum(item.logits for batch in batches for item in batch),
        pairs=sum(n * pairs for n, _, pairs in rows),
    )


def _on_whole_models(count: Callable[[Shape, BatchTotals], Flops]) -> Callable[[Shape, BatchTotals, Remaining], Flops]:
    """Operations of passes that are run on whole models only."""
    return lambda shape, totals, remaining: count(shape, totals)


FLOPS: dict[Kind, Callable[[Shape, BatchTotals, Remaining], Flops]] = {
    Kind.FORWARD: flops.forward,
    Kind.GRADIENTS: _on_whole_models(flops.gradients),
    Kind.FFN_ORACLE: _on_whole_models(flops.without_each_ffn),
    Kind.HEAD_ORACLE: _on_whole_models(flops.without_each_head),
    Kind.PREFIX: _on_whole_models(flops.prefix_matching),
    Kind.COPYING: _on_whole_models(flops.copying),
    Kind.LOSS: _on_whole_models(flops.forward),
}
