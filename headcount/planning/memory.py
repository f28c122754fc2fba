"""Memory of passes at their peak, beside the weights: a model of PyTorch's tensors, from sizes alone.

Counted are the numbers that are alive together in the widest place of a layer, and for gradients those that autograd
saves of every layer with frozen weights. Python, PyTorch's libraries and memory that its allocator holds but does not
use come on top: some hundred MB on a CPU.
"""

from typing import NamedTuple

from headcount.planning.flops import DEFINITIONS
from headcount.planning.layers import Layer
from headcount.planning.shape import Shape
from headcount.tracing.internal import Item, Kind

FLOAT = 4
"""Bytes of a float32 number, in which log-probabilities and scores are computed."""
GROUP = 1 << 24
"""Entries [batch, head, query, key] that copying holds at a time."""


class Memory(NamedTuple):
    """Bytes on the device that holds most.

    Attributes:
        weights: The model, and copies beside it: matrices that were cut, a model with random weights.
        activations: Numbers that are alive in a layer, and those saved of all layers.
        logits: Logits, and numbers computed from them.
    """

    weights: float = 0.0
    activations: float = 0.0
    logits: float = 0.0

    @property
    def total(self) -> float:
        """The sum of all."""
        return sum(self)

    def larger(self, other: "Memory") -> "Memory":
        """Return the larger of two."""
        return max(self, other, key=lambda memory: memory.total)


def weight_bytes(shape: Shape, devices: int, *, copy: bool = False) -> float:
    """Return the bytes of weights on the first device, which also has the weights outside of the layers.

    Args:
        shape: The model.
        devices: The number of devices over which its layers are spread evenly.
        copy: True if there is a second model, spread like the first.
    """
    largest = sorted((layer.parameters for layer in shape.layers), reverse=True)
    numbers = shape.embed_parameters + sum(largest[: _layers(shape, devices)])
    return shape.bytes_per_number * numbers * (1.0 + copy)


def cut_bytes(shape: Shape, devices: int, left: float) -> float:
    """Return the bytes of cut attention matrices on the device that holds most.

    Args:
        shape: The model.
        devices: The number of devices over which its layers are spread evenly.
        left: The share of the heads that is left.
    """
    largest = sorted((layer.attention_parameters for layer in shape.layers), reverse=True)
    return shape.bytes_per_number * left * sum(largest[: _layers(shape, devices)])


def _layers(shape: Shape, devices: int) -> int:
    """The number of layers on the device that holds most."""
    return -(-shape.sizes.n_layers // devices)


def batch_memory(shape: Shape, kind: Kind, items: list[Item], devices: int = 1) -> Memory:
    """Return the memory that a batch of items needs beside the weights."""
    s, b = shape.sizes, shape.bytes_per_number
    rows, pos, logits = len(items), max(item.pos for item in items), sum(item.logits for item in items)
    tokens, single = rows * pos, FLOAT * (b < FLOAT)
    layers = _layers(shape, devices)
    active = tokens * b * _widest(shape)
    if any(item.branched for item in items):
        active += rows * pos * pos * (2 * b + 3)
    logit_bytes = float(logits * s.vocab * (b + single + FLOAT))
    if kind is Kind.GRADIENTS:
        active += tokens * b * layers * _saved(shape)
        logit_bytes += logits * s.vocab * (FLOAT + b * (b < FLOAT))
    elif kind in (Kind.FFN_ORACLE, Kind.HEAD_ORACLE):
        active += tokens * b * layers * s.d_model
    if kind is Kind.HEAD_ORACLE:
        active, logit_bytes = active * s.n_heads, logit_bytes * s.n_heads
    elif kind is Kind.PREFIX:
        pairs = rows * max(item.pairs for item in items)
        active += pairs * s.n_heads * (s.d_head * 2 * (b + single) + 3 * FLOAT)
    elif kind is Kind.COPYING:
        entries = min(rows * s.n_heads * pos * pos, max(GROUP, rows * pos * pos))
        active += entries * (4 + DEFINITIONS) * FLOAT + tokens * (s.d_model + 2 * s.n_heads * s.d_head) * FLOAT
    elif kind is Kind.LOSS:
        logit_bytes += logits * s.vocab * FLOAT
    return Memory(0.0, float(active), logit_bytes)


def _widest(shape: Shape) -> int:
    """Numbers per token alive at once in a layer: residual stream, its sum, its norm, and the widest values inside."""
    networks = max(layer.d_mlp for layer in shape.layers) * (3 if shape.gated or shape.sizes.n_experts else 2)
    return 3 * shape.sizes.d_model + max(networks, *(_attention(shape, layer, 2) for layer in shape.layers))


def _saved(shape: Shape) -> int:
    """Numbers per token that autograd saves of a layer with frozen weights.

    The inputs of both norms; queries, keys, values and the output of attention, and z; the gradient of z; of the
    network the inputs of its activation function, and of a gate.
    """
    networks = 3 if shape.gated or shape.sizes.n_experts else 1
    return max(2 * shape.sizes.d_model + _attention(shape, layer, 3) + layer.d_mlp * networks for layer in shape.layers)


def _attention(shape: Shape, layer: Layer, values: int) -> int:
    """Numbers per token of a layer's queries, keys and values, and so many more as wide as the values of all heads."""
    keys = layer.key_width + layer.value_width
    return layer.heads * (layer.key_width + values * layer.value_width) + shape.sizes.n_kv_heads * keys
