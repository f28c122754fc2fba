"""Floating-point operations of a model's passes, from its sizes alone.

Counted are matrix products, two operations for each multiplication and addition: projections, attention, feed-forward
networks, unembedding. Attention is counted over the whole square of queries and keys, as eager attention computes it;
kernels that leave out what a causal mask hides do up to half of it. Norms, activation functions and softmax are not
counted: they cost time by the numbers that they move, see `headcount.timing`.

    projections  2 · tokens · d_model · d_head · (2 · n_heads + 2 · n_kv_heads)      a layer
    attention    4 · rows · pos² · d_head · n_heads                                  a layer
    networks     2 · tokens · d_model · d_mlp · (3 if gated else 2)                  a layer
    unembedding  2 · logits · d_embed · vocab
"""

from dataclasses import dataclass
from math import comb
from typing import NamedTuple

from headcount.tracing import Model, Sizes

DEFINITIONS = 2
"""Definitions of copying that a study takes on the same pass."""


@dataclass(frozen=True)
class Shape:
    """What operations and memory depend on.

    Attributes:
        sizes: The model's sizes.
        gated: Whether its feed-forward networks have a gate, a third matrix.
        parallel: Whether attention and feed-forward network read the same residual stream.
        d_embed: Width of the embedding, which OPT-350m projects to d_model and back.
        embed_parameters: Parameters outside of the layers.
        layer_parameters: Parameters of a layer.
        bytes_per_number: Of weights and activations.
    """

    sizes: Sizes
    gated: bool
    parallel: bool
    d_embed: int
    embed_parameters: int
    layer_parameters: int
    bytes_per_number: int

    @classmethod
    def of(cls, model: Model) -> "Shape":
        """The shape of a model, which may be on meta."""
        layer = sum(weights.numel() for weights in model.hf.get_submodule(f"{model.family.layers}.0").parameters())
        total = sum(weights.numel() for weights in model.hf.parameters())
        return cls(
            sizes=model.sizes,
            gated=bool(model.family.mlp_gate),
            parallel=model.variant.parallel,
            d_embed=model.hf.get_input_embeddings().weight.shape[1],
            embed_parameters=total - layer * model.sizes.n_layers,
            layer_parameters=layer,
            bytes_per_number=model.dtype.itemsize,
        )

    @property
    def parameters(self) -> int:
        """All parameters, tied ones once."""
        return self.embed_parameters + self.layer_parameters * self.sizes.n_layers

    @property
    def attention_parameters(self) -> int:
        """The four matrices of a layer's attention."""
        s = self.sizes
        return 2 * s.d_model * s.d_head * (s.n_heads + s.n_kv_heads)

    @property
    def network_parameters(self) -> int:
        """The matrices of a layer's feed-forward network."""
        return self.sizes.d_model * self.sizes.d_mlp * (3 if self.gated else 2)


@dataclass(frozen=True)
class Amount:
    """How much goes through a model: the sums over some batches, padding included.

    Attributes:
        tokens: Σ rows · pos.
        squares: Σ rows · pos².
        logits: Places whose logits are taken.
        pairs: Σ rows · entries of the pattern that prefix matching takes, padding included.
    """

    tokens: int
    squares: int
    logits: int = 0
    pairs: int = 0


class Flops(NamedTuple):
    """Operations by kind."""

    projections: float = 0.0
    attention: float = 0.0
    networks: float = 0.0
    unembedding: float = 0.0

    @property
    def total(self) -> float:
        """All of them."""
        return sum(self)

    def plus(self, other: "Flops", times: float = 1.0) -> "Flops":
        """These and others, so many times."""
        return Flops(*(mine + times * theirs for mine, theirs in zip(self, other, strict=True)))


@dataclass(frozen=True)
class Left:
    """What is left of a pruned model, as shares of the whole.

    Attributes:
        heads: Query heads.
        kv_heads: Key and value heads, of which a group goes with the last of its query heads.
        networks: Feed-forward networks.
    """

    heads: float = 1.0
    kv_heads: float = 1.0
    networks: float = 1.0

    @classmethod
    def after(cls, sizes: Sizes, heads: int, networks: int) -> "Left":
        """What is left without so many heads and networks, whichever they are.

        Of grouped queries the share of groups with some head left is that to expect of heads drawn at random.
        """
        all_heads, group = sizes.n_layers * sizes.n_heads, sizes.n_heads // sizes.n_kv_heads
        gone = comb(all_heads - group, heads - group) / comb(all_heads, heads) if heads >= group else 0.0
        return cls(1 - heads / all_heads, 1 - gone, 1 - networks / sizes.n_layers)


WHOLE = Left()


def layers(shape: Shape, amount: Amount, n: float, left: Left = WHOLE) -> Flops:
    """The operations of `n` layers."""
    s = shape.sizes
    heads = s.n_heads * left.heads + s.n_kv_heads * left.kv_heads
    return Flops(
        projections=n * 4 * amount.tokens * s.d_model * s.d_head * heads,
        attention=n * 4 * amount.squares * s.d_head * s.n_heads * left.heads,
        networks=n * 2 * amount.tokens * shape.network_parameters * left.networks,
    )


def embedding(shape: Shape, amount: Amount) -> Flops:
    """What it takes to bring embeddings to the residual stream's width, where they are narrower."""
    narrow = shape.d_embed != shape.sizes.d_model
    return Flops(projections=2.0 * amount.tokens * shape.sizes.d_model * shape.d_embed * narrow)


def unembedding(shape: Shape, amount: Amount) -> Flops:
    """The logits; `project_out`, where there is one, comes before they are selected and sees every token."""
    narrow = shape.d_embed != shape.sizes.d_model
    return Flops(
        projections=2.0 * amount.tokens * shape.sizes.d_model * shape.d_embed * narrow,
        unembedding=2.0 * amount.logits * shape.d_embed * shape.sizes.vocab,
    )


def forward(shape: Shape, amount: Amount, left: Left = WHOLE) -> Flops:
    """A forward pass of the whole model, or of a pruned one, with logits at some places."""
    return (
        layers(shape, amount, shape.sizes.n_layers, left)
        .plus(embedding(shape, amount))
        .plus(unembedding(shape, amount))
    )


def backward(shape: Shape, amount: Amount) -> Flops:
    """A backward pass to every layer's z, with frozen weights.

    A projection costs what it does forward, attention (two products for each of its two) twice that. Below the first
    layer's z nothing is differentiated: not its attention, and where blocks are parallel not its network either.
    """
    below, s = layers(shape, amount, 1), shape.sizes
    layer = Flops(below.projections, 2 * below.attention, below.networks)
    w_o = 2.0 * amount.tokens * s.d_model * s.d_head * s.n_heads
    first = Flops(projections=w_o, networks=0.0 if shape.parallel else below.networks)
    return Flops().plus(layer, s.n_layers - 1).plus(first).plus(unembedding(shape, amount))


def gradients(shape: Shape, amount: Amount) -> Flops:
    """Head importance from gradients: forward and backward."""
    return forward(shape, amount).plus(backward(shape, amount))


def without_each_ffn(shape: Shape, amount: Amount) -> Flops:
    """The FFN oracle: the whole model, and from every layer up again; the silenced network is still computed."""
    n = shape.sizes.n_layers
    again = layers(shape, amount, n * (n + 1) / 2).plus(unembedding(shape, amount), n).plus(embedding(shape, amount), n)
    return forward(shape, amount).plus(again)


def without_each_head(shape: Shape, amount: Amount) -> Flops:
    """The oracle of heads: as that of networks, each run once for every head of the layer."""
    again = without_each_ffn(shape, amount).plus(forward(shape, amount), -1)
    return forward(shape, amount).plus(again, shape.sizes.n_heads)


def prefix_matching(shape: Shape, amount: Amount) -> Flops:
    """A pass that ends at the last layer's attention, and the entries that are taken of every pattern."""
    s = shape.sizes
    w_o = 2.0 * amount.tokens * s.d_model * s.d_head * s.n_heads
    last = layers(shape, amount, 1)
    entries = Flops(attention=2.0 * amount.pairs * s.n_heads * s.d_head * s.n_layers)
    found = layers(shape, amount, s.n_layers).plus(embedding(shape, amount)).plus(entries)
    return found.plus(Flops(projections=w_o, networks=last.networks), -1)


def copying(shape: Shape, amount: Amount) -> Flops:
    """Every layer's attention on the embeddings, without networks, and the logits of the sequence's own tokens.

    Of the products over queries and keys one gives scores, one z, and one for each definition logits.
    """
    s = shape.sizes
    w_o = 2.0 * amount.tokens * s.d_model * s.d_head * s.n_heads
    products = 2.0 * amount.squares * s.d_head * s.n_heads * (2 + DEFINITIONS)
    # W_O is not applied in the last layer, and its product with the unembedding is taken in every one.
    projections = s.n_layers * layers(shape, amount, 1).projections + (s.n_layers - 1) * w_o
    return Flops(projections, s.n_layers * products).plus(embedding(shape, amount), 2)
