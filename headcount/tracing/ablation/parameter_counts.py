"""Numbers of parameters that pruning takes out."""

from dataclasses import dataclass
from typing import Any

from jaxtyping import Bool
from torch import Tensor, nn

from headcount.results import InputError
from headcount.tracing.ablation.cut_weights import check_split, per_head_weights
from headcount.tracing.ablation.masks import with_present_removals
from headcount.tracing.architectures.anatomy import Anatomy
from headcount.tracing.model import Model
from headcount.tracing.removed_parts import HeadSet, LayerSet, Removed


@dataclass(frozen=True)
class ParameterCounts:
    """Numbers of parameters that a removal takes out, biases and norms included.

    Attributes:
        total: The number of the whole model's parameters; tied ones count once.
        heads: The number of parameters that go with the heads.
        ffns: The number of parameters that go with the feed-forward networks.
        experts: The number of parameters that go with experts of mixtures; those of the router stay.
    """

    total: int
    heads: int
    ffns: int
    experts: int = 0

    @property
    def removed(self) -> int:
        """The number of all parameters that go."""
        return self.heads + self.ffns + self.experts

    @property
    def share(self) -> float:
        """The share of the whole model's parameters that goes, in [0, 1)."""
        return self.removed / self.total


def removed_parameters(
    model: Model,
    heads: HeadSet | None = None,
    ffns: LayerSet | None = None,
    *,
    kv_groups: HeadSet | None = None,
    experts: HeadSet | None = None,
    means: bool = False,
) -> ParameterCounts:
    """Return the exact numbers of parameters that `pruned` would take out; the model may be on meta.

    Args:
        model: The model; parts that are removed at present (`masked`) count as well.
        heads: Mask [layer, head], True where removed, or pairs [(layer, head), ...].
        ffns: Mask [layer], True where removed, or layers.
        kv_groups: Mask [layer, group], True where removed, or pairs: all heads of a group go.
        experts: Mask [layer, expert], True where removed, or pairs: the weights that serve them alone.
        means: True if the means of heads and networks stay, as biases, which are not counted as removed.

    Raises:
        InputError: A mask's shape is not the model's, a part does not exist, or the model is pruned already.
    """
    removed = with_present_removals(model, heads, ffns, kv_groups)
    anatomy = model.anatomy
    blocks = [model.hf.get_submodule(f"{model.family.layers}.{layer}") for layer in range(model.sizes.n_layers)]
    gone = Removed.of(model.sizes, experts=experts).experts & ~removed.ffns[:, None]
    of_heads = of_ffns = of_experts = 0
    for layer, block in enumerate(blocks):
        if removed.heads[layer].any():
            of_heads += _of_heads(block, anatomy, layer, removed.heads[layer])
            of_heads -= model.sizes.d_model if means and not _has_bias(block, anatomy, layer) else 0
        if removed.ffns[layer]:
            of_ffns += _of_ffn(block, anatomy, layer) - (model.sizes.d_model if means else 0)
        if gone[layer].any():
            of_experts += _of_experts(block, anatomy, layer, int(gone[layer].sum()))
    return ParameterCounts(_count(model.hf), of_heads, of_ffns, of_experts)


def _has_bias(block: nn.Module, anatomy: Anatomy, layer: int) -> bool:
    """Return True if the output projection has a bias."""
    return getattr(block.get_submodule(anatomy.block(layer).output), "bias", None) is not None


def _of_heads(block: nn.Module, anatomy: Anatomy, layer: int, removed: Bool[Tensor, " head"]) -> int:
    """Return the number of parameters of a block that go with its removed heads."""
    family, sizes = anatomy.block(layer), anatomy.sizes
    output: Any = block.get_submodule(family.output)
    if removed.all():  # norms of queries and keys go too
        bias = getattr(output, "bias", None)
        return _count(block.get_submodule(family.attention)) - (0 if bias is None else bias.numel())
    check_split(block, anatomy, layer)
    attention = block.get_submodule(family.attention)
    heads, groups = int(removed.sum()), int(removed.unflatten(0, (sizes.n_kv_heads, -1)).all(1).sum())
    count = output.weight.numel() // sizes.n_heads * heads + len(per_head_weights(attention, sizes.n_heads)) * heads
    if family.fused:
        parts = sizes.n_heads + 2 * sizes.n_kv_heads
        return count + _count(block.get_submodule(family.fused)) // parts * (heads + 2 * groups)
    per_head = [path for path in (family.query, family.latent) if path]
    per_group = [path for path in (family.key, family.value) if path]
    count += sum(_count(block.get_submodule(path)) // sizes.n_heads * heads for path in per_head)
    return count + sum(_count(block.get_submodule(path)) // sizes.n_kv_heads * groups for path in per_group)


def _of_ffn(block: nn.Module, anatomy: Anatomy, layer: int) -> int:
    if not anatomy.block(layer).mlp_added:
        raise InputError(f"which weights of layer {layer} are its feed-forward network's is not known")
    return sum(_count(block.get_submodule(path)) for path in anatomy.ffn(layer))


def _of_experts(block: nn.Module, anatomy: Anatomy, layer: int, removed: int) -> int:
    """Return the number of parameters of so many experts of a block, which are all of one size."""
    path, n_experts = anatomy.block(layer).experts, anatomy.sizes.n_experts
    if not path or any(parameter.shape[0] % n_experts for parameter in block.get_submodule(path).parameters()):
        raise InputError(f"which weights of layer {layer} belong to which expert is not known")
    return _count(block.get_submodule(path)) // n_experts * removed


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
