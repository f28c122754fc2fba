"""What units of work cost on given hardware: operations, bytes, memory, requests, seconds.

The one model of costs, for `plan` and for `study --dry-run`. Batches are those that the measurements make. A pass takes
as long as its matrix products at the hardware's rate, or as reading its weights where that is longer, and then as
moving the numbers that norms, activation functions and softmax read and write:

    seconds = max(operations / rate, weights read / bandwidth) + numbers moved / bandwidth + overhead · layers run
"""

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

from headcount.planning import flops, memory, requests
from headcount.planning.flops import WHOLE, Amount, Flops, Left, Shape
from headcount.planning.hardware import Hardware, hardware
from headcount.planning.memory import Memory
from headcount.results import Run
from headcount.study.units import Unit
from headcount.tracing import Model
from headcount.tracing.internal import Item, Items, Kind, ModelPass, planned_batches

OVERHEAD = {"cpu": 3e-4, "cuda": 2e-4}
"""Seconds that a layer takes besides its numbers: Python, hooks, launches."""
WEIGHED_ON = "A100-80GB"
"""The device of `relative_seconds`."""
BUILDING = 5e-3
"""Seconds a layer to put a pruned model together, besides copying what is cut."""


class Cost(NamedTuple):
    """A unit of work and its price.

    Attributes:
        title: What is measured.
        names: The results it leaves.
        done: Whether the run has them already; then it costs nothing more.
        flops: Operations of matrix products.
        weight_bytes: Bytes of weights that are read.
        memory: The peak on the device that holds most.
        fits: Whether that device has so much.
        requests: Requests of a remote run, one a batch.
        up: Bytes that they send.
        down: Bytes that they get.
        seconds: About how long it takes.
    """

    title: str
    names: tuple[str, ...]
    done: bool
    flops: float = 0.0
    weight_bytes: float = 0.0
    memory: Memory = Memory()
    fits: bool = True
    requests: int = 0
    up: int = 0
    down: int = 0
    seconds: float = 0.0


def costs(units: Sequence[Unit], shape: Shape, on: Hardware, run: Run | None = None) -> list[Cost]:
    """The price of every unit, in order: what an earlier one leaves in memory is not run again.

    Args:
        units: The units, in the order in which they are measured.
        shape: The model.
        on: The hardware.
        run: What is done already; None for nothing.
    """
    remembered: set[Hashable] = set()
    found = []
    for unit in units:
        cost = Cost(unit.title, unit.names, run is not None and unit.done(run, unit.inputs(run)))
        for one in () if cost.done else unit.work():
            if one.key is None or one.key not in remembered:
                cost = together(cost, of_pass(one, shape, on))
                remembered |= {one.key} - {None}
        found.append(cost)
    return found


def relative_seconds(model: Model, units: Sequence[Unit]) -> list[float]:
    """Return how long each unit takes on one known device, however much it holds, to weigh units against each other.

    The device is always the same, so that all processes of a job array divide a study alike.
    """
    shape = Shape.of(model)
    device = replace(hardware(WEIGHED_ON, shape, model.dtype), memory=math.inf)
    return [cost.seconds for cost in costs(units, shape, device)]


def together(mine: Cost, other: Cost) -> Cost:
    """The sum of two, under the first one's title; memory is the larger one's."""
    sums = {
        name: getattr(mine, name) + getattr(other, name)
        for name in ("flops", "weight_bytes", "requests", "up", "down", "seconds")
    }
    return mine._replace(**sums, memory=mine.memory.or_more(other.memory), fits=mine.fits and other.fits)


@dataclass(frozen=True)
class Batched:
    """Items in the batches that they would be run in.

    Attributes:
        amount: The sums over batches, padding included.
        batches: How many there are.
        memory: What the largest needs beside the weights.
        up: Bytes of their requests.
        down: Bytes of the answers.
    """

    amount: Amount
    batches: int
    memory: Memory
    up: int
    down: int


@lru_cache(maxsize=4096)
def batched(items: Items, kind: Kind, shape: Shape, on: Hardware, free: float) -> Batched:
    """Items in batches as the measurements make them, each halved until it fits into so many bytes."""

    def needs(batch: list[int]) -> Memory:
        return memory.batch(shape, kind, [items.items[index] for index in batch], on.devices)

    def fits(batch: list[int]) -> bool:
        return len(batch) == 1 or needs(batch).total <= free

    lengths = [item.pos for item in items.items]
    made = planned_batches(lengths, items.batch_size or "auto", on.kind, fits)
    contents = [[items.items[index] for index in batch] for batch in made]
    return Batched(
        _amount(contents),
        len(made),
        max(map(needs, made), key=lambda one: one.total),
        sum(map(requests.up, contents)),
        sum(requests.down(shape, kind, content) for content in contents),
    )


def _amount(batches: list[list[Item]]) -> Amount:
    rows = [(len(batch), max(item.pos for item in batch), max(item.pairs for item in batch)) for batch in batches]
    return Amount(
        tokens=sum(n * pos for n, pos, _ in rows),
        squares=sum(n * pos * pos for n, pos, _ in rows),
        logits=sum(item.logits for batch in batches for item in batch),
        pairs=sum(n * pairs for n, _, pairs in rows),
    )


def of_pass(one: ModelPass, shape: Shape, on: Hardware) -> Cost:
    """The price of one pass over its items."""
    left = Left.after(shape.sizes, one.heads, one.networks)
    held = memory.weights(shape, on.devices, cut=left.heads if one.heads else 0.0, copy=one.copy)
    run = batched(one.items, one.kind, shape, on, max(0.0, on.memory - held))
    peak = run.memory._replace(weights=held)
    operations = FLOPS[one.kind](shape, run.amount, left)
    read = run.batches * weights_read(shape, one.kind, left)
    return Cost(
        "",
        (),
        False,
        operations.total,
        read,
        peak,
        peak.total <= on.memory,
        run.batches,
        run.up,
        run.down,
        _seconds(one, shape, on, run, operations.total, read, left),
    )


def _whole(count: Callable[[Shape, Amount], Flops]) -> Callable[[Shape, Amount, Left], Flops]:
    """Passes that are run on whole models only."""
    return lambda shape, amount, left: count(shape, amount)


FLOPS: dict[Kind, Callable[[Shape, Amount, Left], Flops]] = {
    Kind.FORWARD: flops.forward,
    Kind.GRADIENTS: _whole(flops.gradients),
    Kind.FFN_ORACLE: _whole(flops.without_each_ffn),
    Kind.HEAD_ORACLE: _whole(flops.without_each_head),
    Kind.PREFIX: _whole(flops.prefix_matching),
    Kind.COPYING: _whole(flops.copying),
    Kind.LOSS: _whole(flops.forward),
}


def layers_run(shape: Shape, kind: Kind) -> float:
    """How many times a layer is run for one batch, forward and backward."""
    n = shape.sizes.n_layers
    triangle = n * (n + 1) / 2
    return {
        Kind.GRADIENTS: 2.0 * n,
        Kind.FFN_ORACLE: n + triangle,
        Kind.HEAD_ORACLE: n + triangle,
    }.get(kind, float(n))


def weights_read(shape: Shape, kind: Kind, left: Left = WHOLE) -> float:
    """Bytes of weights that one batch reads: of the layers as often as they are run, of the unembedding likewise."""
    s, n = shape.sizes, layers_run(shape, kind)
    heads = (s.n_heads * left.heads + s.n_kv_heads * left.kv_heads) / (s.n_heads + s.n_kv_heads)
    networks = 0.0 if kind is Kind.COPYING else left.networks
    layer = shape.attention_parameters * heads + shape.network_parameters * networks
    unembeddings = 0.0 if kind in (Kind.PREFIX, Kind.COPYING) else n / s.n_layers
    if kind in (Kind.FFN_ORACLE, Kind.HEAD_ORACLE):
        unembeddings = s.n_layers + 1.0
    return shape.bytes_per_number * (n * layer + unembeddings * s.vocab * shape.d_embed)


def _seconds(
    one: ModelPass, shape: Shape, on: Hardware, run: Batched, operations: float, read: float, left: Left
) -> float:
    s, kind = shape.sizes, one.kind
    layer_runs = layers_run(shape, kind)
    copies = s.n_heads if kind is Kind.HEAD_ORACLE else 1
    # Of a layer: two norms, two sums, attention's own numbers, and what the activation function reads and writes.
    layer = 12 * s.d_model + 4 * s.d_head * s.n_heads * left.heads + 5 * s.d_mlp * left.networks
    logit_runs = {Kind.FFN_ORACLE: s.n_layers + 1.0, Kind.HEAD_ORACLE: s.n_layers + 1.0, Kind.GRADIENTS: 2.0}
    moved = copies * (
        layer_runs * layer * run.amount.tokens * shape.bytes_per_number
        + logit_runs.get(kind, 1.0) * run.amount.logits * s.vocab * 5 * memory.FLOAT
    )
    if kind is Kind.COPYING:
        moved = s.n_layers * s.n_heads * run.amount.squares * (6 + 8 * flops.DEFINITIONS) * memory.FLOAT
    waiting = layer_runs * run.batches * OVERHEAD[on.kind]
    if one.heads or one.networks:
        cut = 2 * shape.bytes_per_number * shape.attention_parameters * s.n_layers * left.heads * bool(one.heads)
        waiting += s.n_layers * BUILDING + cut / on.bandwidth
    return max(operations / on.flops, read / on.bandwidth) + moved / on.bandwidth + waiting
