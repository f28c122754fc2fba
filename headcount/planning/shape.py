"""The shape of a model and of its batches: everything that operations and memory depend on."""

from dataclasses import dataclass
from math import comb

from headcount.planning.layers import Layer, layers_of
from headcount.tracing import Model, Sizes


@dataclass(frozen=True)
class Shape:
    """The sizes of a model on which operations and memory depend.

    Attributes:
        sizes: The model's sizes.
        layers: The costs of each layer.
        gated: True if its feed-forward networks have a gate, a third matrix.
        parallel: True if attention and feed-forward network read the same residual stream.
        masked: True if parts are removed by zero ablation, at the cost of the whole model.
        d_embed: Width of the embedding, which OPT-350m projects to d_model and back.
        embed_parameters: Parameters outside of the layers.
        bytes_per_number: Bytes of a weight or an activation.
    """

    sizes: Sizes
    layers: tuple[Layer, ...]
    gated: bool
    parallel: bool
    masked: bool
    d_embed: int
    embed_parameters: int
    bytes_per_number: int

    @classmethod
    def of(cls, model: Model) -> "Shape":
        """Return the shape of a model, which may be on meta.

        Raises:
            InputError: The costs of a layer are not known.
        """
        layers = layers_of(model)
        total = sum(weights.numel() for weights in model.hf.parameters())
        return cls(
            sizes=model.sizes,
            layers=layers,
            gated=any(bool(model.paths(layer).mlp_gate) for layer in range(model.sizes.n_layers)),
            parallel=model.variant.parallel,
            masked=model.derived,
            d_embed=model.hf.get_input_embeddings().weight.shape[1],
            embed_parameters=total - sum(layer.parameters for layer in layers),
            bytes_per_number=model.dtype.itemsize,
        )

    @property
    def with_heads(self) -> list[int]:
        """The layers that have attention heads."""
        return [number for number, layer in enumerate(self.layers) if layer.heads]

    @property
    def parameters(self) -> int:
        """The number of all parameters, tied ones once."""
        return self.embed_parameters + sum(layer.parameters for layer in self.layers)

    @property
    def d_mlp(self) -> int:
        """The width of the widest feed-forward network, over all experts that a token passes."""
        return max(layer.d_mlp for layer in self.layers)


@dataclass(frozen=True)
class BatchTotals:
    """Sums over some batches, padding included.

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


@dataclass(frozen=True)
class Remaining:
    """The parts that remain in a pruned model, as shares of the whole.

    Attributes:
        heads: Query heads.
        kv_heads: Key and value heads, of which a group is removed with the last of its query heads.
        networks: Feed-forward networks.
    """

    heads: float = 1.0
    kv_heads: float = 1.0
    networks: float = 1.0

    @classmethod
    def of(cls, shape: Shape, heads: int, networks: int) -> "Remaining":
        """Return the shares of a model that run after the removal: all, where parts are removed by zero ablation."""
        return cls() if shape.masked else cls.after(shape.sizes, heads, networks)

    @classmethod
    def after(cls, sizes: Sizes, heads: int, networks: int) -> "Remaining":
        """Return the shares that remain after the removal of some heads and networks, whichever they are.

        Of grouped queries the share of groups with a head left is the expected one for heads drawn at random.
        """
        all_heads, group = sizes.n_layers * sizes.n_heads, sizes.n_heads // sizes.n_kv_heads
        gone = comb(all_heads - group, heads - group) / comb(all_heads, heads) if heads >= group else 0.0
        return cls(1 - heads / all_heads, 1 - gone, 1 - networks / sizes.n_layers)


WHOLE = Remaining()
