"""Floating-point operations of a model's passes, from its sizes alone.

Counted are matrix products, two operations for each multiplication and addition: projections, attention, feed-forward
networks, unembedding. Attention is counted over the whole square of queries and keys, as eager attention computes it;
kernels that leave out the entries behind the causal mask do up to half of it. Norms, activation functions and softmax
are not counted: their time depends on the numbers that they move, see `headcount.planning.seconds`.

    projections  2 · tokens · parameters of attention's matrices                     a layer
    attention    2 · rows · pos² · (width of keys + width of values) · n_heads       a layer
    networks     2 · tokens · parameters of the matrices that a token passes         a layer
    unembedding  2 · logits · d_embed · vocab

Of a mixture of experts, a token passes the router, the experts that are chosen for it, and those that all tokens pass.
In layers without heads, the matrices in attention's place count as projections; recurrences and convolutions do not
count.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from headcount.planning.shape import WHOLE, BatchTotals, Remaining, Shape

DEFINITIONS = 2
"""Definitions of copying that a study takes on the same pass."""


class Flops(NamedTuple):
    """Operations by kind."""

    projections: float = 0.0
    attention: float = 0.0
    networks: float = 0.0
    unembedding: float = 0.0

    @property
    def total(self) -> float:
        """The sum of all."""
        return sum(self)

    def plus(self, other: "Flops", times: float = 1.0) -> "Flops":
        """Return the sum of these and some others, the others multiplied by `times`."""
        return Flops(*(a + times * b for a, b in zip(self, other, strict=True)))


def layers(shape: Shape, totals: BatchTotals, times: Sequence[float], remaining: Remaining = WHOLE) -> Flops:
    """Return the operations of the layers, each run so many times."""
    projections = attention = networks = 0.0
    for n, layer in zip(times, shape.layers, strict=True):
        projections += n * (layer.query_parameters * remaining.heads + layer.key_parameters * remaining.kv_heads)
        attention += n * layer.heads * (layer.key_width + layer.value_width) * remaining.heads
        networks += n * layer.network_parameters * remaining.networks
    return Flops(2 * totals.tokens * projections, 2 * totals.squares * attention, 2 * totals.tokens * networks)


def every_layer(shape: Shape) -> list[float]:
    """Return how often each layer is run in one pass: once."""
    return [1.0] * shape.sizes.n_layers


def embedding(shape: Shape, totals: BatchTotals) -> Flops:
    """Return the operations of projecting embeddings to the residual stream's width, where they are narrower."""
    narrow = shape.d_embed != shape.sizes.d_model
    return Flops(projections=2.0 * totals.tokens * shape.sizes.d_model * shape.d_embed * narrow)


def unembedding(shape: Shape, totals: BatchTotals) -> Flops:
    """Return the operations of logits.

    `project_out`, if there is one, is applied to every token, before positions are selected.
    """
    narrow = shape.d_embed != shape.sizes.d_model
    return Flops(
        projections=2.0 * totals.tokens * shape.sizes.d_model * shape.d_embed * narrow,
        unembedding=2.0 * totals.logits * shape.d_embed * shape.sizes.vocab,
    )


def forward(shape: Shape, totals: BatchTotals, remaining: Remaining = WHOLE) -> Flops:
    """Return the operations of a forward pass, whole or pruned, with logits at some places."""
    return (
        layers(shape, totals, every_layer(shape), remaining)
        .plus(embedding(shape, totals))
        .plus(unembedding(shape, totals))
    )


def backward(shape: Shape, totals: BatchTotals) -> Flops:
    """Return the operations of a backward pass to every layer's z, with frozen weights.

    A projection costs what it does forward, attention (two products for each of its two) twice that. Below the first
    layer's z, of those that have heads, nothing is differentiated: not its attention, and where blocks are parallel not
    its network either.
    """
    first = shape.with_heads[0]
    above = layers(shape, totals, [float(layer > first) for layer in range(shape.sizes.n_layers)])
    lowest = Flops(
        projections=2.0 * totals.tokens * shape.layers[first].output_parameters,
        networks=0.0 if shape.parallel else 2.0 * totals.tokens * shape.layers[first].network_parameters,
    )
    above = Flops(above.projections, 2 * above.attention, above.networks)
    return above.plus(lowest).plus(unembedding(shape, totals))


def gradients(shape: Shape, totals: BatchTotals) -> Flops:
    """Return the operations of head importance from gradients: forward and backward."""
    return forward(shape, totals).plus(backward(shape, totals))


def without_each_ffn(shape: Shape, totals: BatchTotals) -> Flops:
    """Return the operations of the FFN oracle: the whole model, and from every layer up again.

    The output of the removed network is still computed.
    """
    return forward(shape, totals).plus(_from_each(shape, totals, dict.fromkeys(range(shape.sizes.n_layers), 1)))


def without_each_head(shape: Shape, totals: BatchTotals) -> Flops:
    """Return the operations of the head oracle: as of the FFN oracle, each run once for every head of the layer."""
    return forward(shape, totals).plus(_from_each(shape, totals, dict.fromkeys(shape.with_heads, shape.sizes.n_heads)))


def _from_each(shape: Shape, totals: BatchTotals, starts: Mapping[int, int]) -> Flops:
    """Return the operations of passes that start at layers, so many at each."""
    times = [float(sum(n for start, n in starts.items() if start <= layer)) for layer in range(shape.sizes.n_layers)]
    outer = unembedding(shape, totals).plus(embedding(shape, totals))
    return layers(shape, totals, times).plus(outer, sum(starts.values()))


def prefix_matching(shape: Shape, totals: BatchTotals) -> Flops:
    """Return the operations of a pass up to the last layer's attention, and of the entries taken of every pattern."""
    last = shape.with_heads[-1]
    heads = sum(layer.heads * layer.key_width for layer in shape.layers)
    entries = Flops(attention=2.0 * totals.pairs * heads)
    run = layers(shape, totals, [float(layer <= last) for layer in range(shape.sizes.n_layers)])
    end = shape.layers[last]
    left_out = Flops(2.0 * totals.tokens * end.output_parameters, 0.0, 2.0 * totals.tokens * end.network_parameters)
    return run.plus(embedding(shape, totals)).plus(entries).plus(left_out, -1)


def copying(shape: Shape, totals: BatchTotals) -> Flops:
    """Return the operations of every layer's attention on the embeddings, and of the logits of the sequence's tokens.

    No network is run. Of the products over queries and keys one gives scores, one z, and one a definition logits.
    """
    last = shape.with_heads[-1]
    run = shape.layers[: last + 1]
    # W_O is not applied in the last layer, and its product with the unembedding is taken in every one.
    matrices = sum(layer.query_parameters + layer.key_parameters + layer.output_parameters for layer in run)
    matrices -= run[-1].output_parameters
    networks = sum(layer.network_parameters for layer in run[:-1] if not layer.network_skipped)
    products = sum(layer.heads * (layer.key_width + layer.value_width * (1 + DEFINITIONS)) for layer in run)
    return Flops(2.0 * totals.tokens * matrices, 2.0 * totals.squares * products, 2.0 * totals.tokens * networks).plus(
        embedding(shape, totals), 2
    )
