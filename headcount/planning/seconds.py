"""Seconds of a pass on given hardware.

A pass takes as long as its matrix products at the hardware's rate, or as reading its weights if that is longer, and
then as moving the numbers that norms, activation functions and softmax read and write:

    seconds = max(operations / rate, weights read / bandwidth) + numbers moved / bandwidth + overhead · layers run
"""

from headcount.planning.flops import DEFINITIONS
from headcount.planning.hardware import Hardware
from headcount.planning.memory import FLOAT
from headcount.planning.shape import WHOLE, BatchTotals, Remaining, Shape
from headcount.tracing.internal import Kind, ModelPass

OVERHEAD = {"cpu": 3e-4, "cuda": 2e-4}
"""Seconds that a layer takes besides its numbers: Python, hooks, launches."""
BUILDING = 5e-3
"""Seconds a layer to put a pruned model together, besides copying its cut matrices."""


def layers_run(shape: Shape, kind: Kind) -> float:
    """Return the number of times that a layer is run for one batch, forward and backward."""
    n = shape.sizes.n_layers
    triangle = n * (n + 1) / 2
    return {
        Kind.GRADIENTS: 2.0 * n,
        Kind.FFN_ORACLE: n + triangle,
        Kind.HEAD_ORACLE: n + triangle,
    }.get(kind, float(n))


def weights_read(shape: Shape, kind: Kind, remaining: Remaining = WHOLE) -> float:
    """Return the bytes of weights that one batch reads: each layer's, and the unembedding's, each time it is run."""
    s, n = shape.sizes, layers_run(shape, kind)
    networks = 0.0 if kind is Kind.COPYING else remaining.networks
    queries, keys, stored = (
        sum(getattr(layer, name) for layer in shape.layers) / s.n_layers
        for name in ("query_parameters", "key_parameters", "network_stored")
    )
    layer = queries * remaining.heads + keys * remaining.kv_heads + stored * networks
    unembeddings = 0.0 if kind in (Kind.PREFIX, Kind.COPYING) else n / s.n_layers
    if kind in (Kind.FFN_ORACLE, Kind.HEAD_ORACLE):
        unembeddings = s.n_layers + 1.0
    return shape.bytes_per_number * (n * layer + unembeddings * s.vocab * shape.d_embed)


def pass_seconds(
    model_pass: ModelPass, shape: Shape, on: Hardware, totals: BatchTotals, batches: int, operations: float
) -> float:
    """Return the seconds of a pass over all its batches.

    Args:
        model_pass: The pass.
        shape: The model.
        on: The hardware.
        totals: Sums over the batches.
        batches: The number of batches.
        operations: Operations of its matrix products.
    """
    remaining = Remaining.of(shape, model_pass.heads, model_pass.networks)
    reading = batches * weights_read(shape, model_pass.kind, remaining) / on.bandwidth
    moving = _bytes_moved(model_pass.kind, shape, totals, remaining) / on.bandwidth
    waiting = layers_run(shape, model_pass.kind) * batches * OVERHEAD[on.kind]
    if (model_pass.heads or model_pass.networks) and not shape.masked:
        waiting += _building_seconds(model_pass, shape, on, remaining)
    return max(operations / on.flops, reading) + moving + waiting


def _bytes_moved(kind: Kind, shape: Shape, totals: BatchTotals, remaining: Remaining) -> float:
    """Bytes that norms, activation functions and softmax read and write."""
    s = shape.sizes
    if kind is Kind.COPYING:
        return s.n_layers * s.n_heads * totals.squares * (6 + 8 * DEFINITIONS) * FLOAT
    copies = s.n_heads if kind is Kind.HEAD_ORACLE else 1
    # Of a layer: two norms, two sums, attention's numbers, and those that the activation function reads and writes.
    layer = 12 * s.d_model + 4 * s.d_head * s.n_heads * remaining.heads + 5 * shape.d_mlp * remaining.networks
    logit_runs = {Kind.FFN_ORACLE: s.n_layers + 1.0, Kind.HEAD_ORACLE: s.n_layers + 1.0, Kind.GRADIENTS: 2.0}
    return copies * (
        layers_run(shape, kind) * layer * totals.tokens * shape.bytes_per_number
        + logit_runs.get(kind, 1.0) * totals.logits * s.vocab * 5 * FLOAT
    )


def _building_seconds(model_pass: ModelPass, shape: Shape, on: Hardware, remaining: Remaining) -> float:
    """Seconds to put a pruned model together."""
    n, numbers = shape.sizes.n_layers, sum(layer.attention_parameters for layer in shape.layers)
    cut = 2 * shape.bytes_per_number * numbers * remaining.heads * bool(model_pass.heads)
    return n * BUILDING + cut / on.bandwidth
