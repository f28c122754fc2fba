"""Floating-point operations of a model's passes, from its sizes alone.

Counted are matrix products, two operations for each multiplication and addition: projections, attention, feed-forward
networks, unembedding. Attention is counted over the whole square of queries and keys, as eager attention computes it;
kernels that leave out the entries behind the causal mask do up to half of it. Norms, activation functions and softmax
are not counted: their time depends on the numbers that they move, see `headcount.planning.seconds`.

    projections  2 · tokens · d_model · d_head · (2 · n_heads + 2 · n_kv_heads)      a layer
    attention    4 · rows · pos² · d_head · n_heads                                  a layer
    networks     2 · tokens · d_model · d_mlp · (3 if gated else 2)                  a layer
    unembedding  2 · logits · d_embed · vocab
"""

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


def layers(shape: Shape, totals: BatchTotals, n: float, remaining: Remaining = WHOLE) -> Flops:
    """Return the operations of `n` layers."""
    s = shape.sizes
    heads = s.n_heads * remaining.heads + s.n_kv_heads * remaining.kv_heads
    return Flops(
        projections=n * 4 * totals.tokens * s.d_model * s.d_head * heads,
        attention=n * 4 * totals.squares * s.d_head * s.n_heads * remaining.heads,
        networks=n * 2 * totals.tokens * shape.network_parameters * remaining.networks,
    )


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
        layers(shape, totals, shape.sizes.n_layers, remaining)
        .plus(embedding(shape, totals))
        .plus(unembedding(shape, totals))
    )


def backward(shape: Shape, totals: BatchTotals) -> Flops:
    """Return the operations of a backward pass to every layer's z, with frozen weights.

    A projection costs what it does forward, attention (two products for each of its two) twice that. Below the first
    layer's z nothing is differentiated: not its attention, and where blocks are parallel not its network either.
    """
    below, s = layers(shape, totals, 1), shape.sizes
    layer = Flops(below.projections, 2 * below.attention, below.networks)
    w_o = 2.0 * totals.tokens * s.d_model * s.d_head * s.n_heads
    first = Flops(projections=w_o, networks=0.0 if shape.parallel else below.networks)
    return Flops().plus(layer, s.n_layers - 1).plus(first).plus(unembedding(shape, totals))


def gradients(shape: Shape, totals: BatchTotals) -> Flops:
    """Return the operations of head importance from gradients: forward and backward."""
    return forward(shape, totals).plus(backward(shape, totals))


def without_each_ffn(shape: Shape, totals: BatchTotals) -> Flops:
    """Return the operations of the FFN oracle: the whole model, and from every layer up again.

    The output of the removed network is still computed.
    """
    n = shape.sizes.n_layers
    again = layers(shape, totals, n * (n + 1) / 2).plus(unembedding(shape, totals), n).plus(embedding(shape, totals), n)
    return forward(shape, totals).plus(again)


def without_each_head(shape: Shape, totals: BatchTotals) -> Flops:
    """Return the operations of the head oracle: as of the FFN oracle, each run once for every head of the layer."""
    again = without_each_ffn(shape, totals).plus(forward(shape, totals), -1)
    return forward(shape, totals).plus(again, shape.sizes.n_heads)


def prefix_matching(shape: Shape, totals: BatchTotals) -> Flops:
    """Return the operations of a pass up to the last layer's attention, and of the entries taken of every pattern."""
    s = shape.sizes
    w_o = 2.0 * totals.tokens * s.d_model * s.d_head * s.n_heads
    last = layers(shape, totals, 1)
    entries = Flops(attention=2.0 * totals.pairs * s.n_heads * s.d_head * s.n_layers)
    whole = layers(shape, totals, s.n_layers).plus(embedding(shape, totals)).plus(entries)
    return whole.plus(Flops(projections=w_o, networks=last.networks), -1)


def copying(shape: Shape, totals: BatchTotals) -> Flops:
    """Return the operations of every layer's attention on the embeddings, and of the logits of the sequence's tokens.

    No network is run. Of the products over queries and keys one gives scores, one z, and one a definition logits.
    """
    s = shape.sizes
    w_o = 2.0 * totals.tokens * s.d_model * s.d_head * s.n_heads
    products = 2.0 * totals.squares * s.d_head * s.n_heads * (2 + DEFINITIONS)
    # W_O is not applied in the last layer, and its product with the unembedding is taken in every one.
    projections = s.n_layers * layers(shape, totals, 1).projections + (s.n_layers - 1) * w_o
    return Flops(projections, s.n_layers * products).plus(embedding(shape, totals), 2)
