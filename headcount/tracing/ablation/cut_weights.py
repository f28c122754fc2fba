"""Heads and feed-forward networks taken out of the weights of a transformers model.

The modules of a block are cut or replaced in place, so that transformers' own `forward` functions run on the rest.
Weights may be real or on meta: a model in memory and an empty one, into which a saved pruned model is read, are cut in
the same way.
"""

import copy
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from headcount.results import InputError
from headcount.tracing.ablation.replacements import Constant, CutInEachPass, NoHeads, PerQueryHead
from headcount.tracing.architectures.anatomy import Anatomy
from headcount.tracing.architectures.families import Family
from headcount.tracing.architectures.sizes import Sizes
from headcount.tracing.architectures.views import fused_views
from headcount.tracing.removed_parts import Removed, mark_pruned

_HEADS = ("num_heads", "num_attention_heads", "n_heads", "n_head")
_GROUPS = ("num_key_value_heads", "num_kv_heads")
_WIDTHS = ("split_size", "embed_dim", "hidden_size")
"""Attributes of attention modules that their `forward` functions may read: numbers of heads and of KV groups, and the
width of all heads together."""


class Means(NamedTuple):
    """Values that stay in the place of removed parts' outputs; 0 for parts that are removed by zeros.

    Attributes:
        heads: Values of z.
        ffns: Values that feed-forward networks add to the residual stream.
    """

    heads: Float[Tensor, "layer head d_head"]
    ffns: Float[Tensor, "layer d_model"]

    @classmethod
    def zeros(cls, sizes: Sizes) -> "Means":
        """Return zeros for all parts of a model."""
        heads = torch.zeros(sizes.n_layers, sizes.n_heads, sizes.d_head, device="cpu")
        return cls(heads, torch.zeros(sizes.n_layers, sizes.d_model, device="cpu"))


def take_out(
    hf: Any, anatomy: Anatomy, removed: Removed, means: Means | None = None, *, in_each_pass: bool = False
) -> None:
    """Take heads and feed-forward networks out of a whole model, in place.

    A head goes with its rows of W_Q, W_K and W_V (in grouped queries, those of W_K and W_V go with the last head of the
    group) and its columns of W_O; a feed-forward network goes with all of `Anatomy.ffn`. Cut tensors are new ones; the
    old tensors do not change. With means, each layer that lost heads has a bias of W_O to which W_O · mean of each is
    added, and a network's mean stays in its place.

    Args:
        hf: The model.
        anatomy: Its parts.
        removed: The parts to take out.
        means: The values that stay in their place; None for zeros.
        in_each_pass: True cuts the attention of a layer whenever it runs, and drops what it cut after it: the same
            numbers without a second copy of the weights.

    Raises:
        InputError: The weights that belong to a part are not known.
    """
    for layer, heads in enumerate(removed.heads):
        block, family = hf.get_submodule(f"{anatomy.family.layers}.{layer}"), anatomy.block(layer)
        if heads.any() and means is not None:
            _fold(block.get_submodule(family.output), means.heads[layer] * heads[:, None])
        if heads.all():
            _take_out_attention(block, family, layer)
        elif heads.any():
            check_split(block, anatomy, layer)
            if in_each_pass:
                cut = partial(_cut_attention, family=family, sizes=anatomy.sizes, left=~heads)
                block.set_submodule(family.attention, CutInEachPass(block, family.attention, cut))
            else:
                _cut_attention(block, family, anatomy.sizes, ~heads)
        if removed.ffns[layer]:
            _take_out_ffn(block, anatomy, layer, None if means is None else means.ffns[layer])
    mark_pruned(hf, removed)


def check_split(block: nn.Module, anatomy: Anatomy, layer: int) -> None:
    """Refuse a layer some of whose attention weights are not split into heads.

    Raises:
        InputError: It is one.
    """
    family, sizes = anatomy.block(layer), anatomy.sizes
    paths = {family.query, family.key, family.value, family.fused, family.latent, family.output} - {""}
    if not (family.fused or family.query) or not anatomy.variant.groups_alike:
        raise InputError(f"which weights of layer {layer} belong to which head is not known")
    together = {sizes.n_heads, _inputs(block.get_submodule(family.output))} - {sizes.d_head}
    for name, module in block.get_submodule(family.attention).named_modules(prefix=family.attention):
        weight = vars(module)["_parameters"].get("weight")
        if anatomy.derived and name not in paths and weight is not None and weight.shape[0] in together:
            raise InputError(
                f"{name} of layer {layer} has one number or more for each head, or a norm over all of them"
            )


def per_head_weights(attention: nn.Module, n_heads: int) -> list[str]:
    """Return the names of an attention module's own weights that are one number a head, such as sinks."""
    return [name for name, weight in attention.named_parameters(recurse=False) if weight.shape == (n_heads,)]


def _take_out_attention(block: nn.Module, family: Family, layer: int) -> None:
    name = family.output.removeprefix(f"{family.attention}.")
    bias: Any = getattr(block.get_submodule(family.output), "bias", None)
    block.set_submodule(family.attention, NoHeads(name, bias, layer))


def _take_out_ffn(block: nn.Module, anatomy: Anatomy, layer: int, mean: Float[Tensor, " d_model"] | None) -> None:
    """Replace the network's last module by its mean, or zeros, and the others by the identity."""
    family = anatomy.block(layer)
    if not family.mlp_added:
        raise InputError(f"which weights of layer {layer} are its feed-forward network's is not known")
    like: Any = next(block.parameters())
    bias = None if mean is None else nn.Parameter(mean.to(like.device, like.dtype), requires_grad=like.requires_grad)
    for path in anatomy.ffn(layer):
        constant = Constant(bias, 2 * family.mlp_returns_more)
        block.set_submodule(path, constant if path == family.mlp[-1] else nn.Identity())


def _fold(projection: Any, z: Float[Tensor, "head d_head"]) -> None:
    """Add W_O z to the bias of an output projection, which gets one if it has none."""
    weight = projection.weight.detach().float()
    weight = weight if isinstance(projection, nn.Linear) else weight.T
    added = weight @ z.flatten().to(weight.device)
    bias = added if projection.bias is None else projection.bias.detach().float() + added
    projection.bias = nn.Parameter(bias.to(projection.weight.dtype), requires_grad=projection.weight.requires_grad)


def _cut_attention(block: nn.Module, family: Family, sizes: Sizes, left: Bool[Tensor, " head"]) -> None:
    """Cut a layer's projections to the heads that are left."""
    attention, output = block.get_submodule(family.attention), block.get_submodule(family.output)
    in_groups = left.unflatten(0, (sizes.n_kv_heads, -1)).sum(1)
    groups = in_groups > 0
    equal = len(set(in_groups[groups].tolist())) == 1
    for name in per_head_weights(attention, sizes.n_heads):
        setattr(attention, name, _part(getattr(attention, name), 0, left))
    if family.fused:
        if not equal:
            raise InputError("queries, keys and values have one projection: as many heads must be left in each group")
        _cut_fused(block, family, sizes, (left, groups, groups))
    for path in filter(None, (family.query, family.latent)):
        _cut(block.get_submodule(path), outputs=left)
    for path in filter(None, (family.key, family.value)):
        projection: Any = block.get_submodule(path)
        _cut(projection, outputs=groups)
        if not equal:
            of_heads = torch.arange(int(groups.sum()), device="cpu").repeat_interleave(in_groups[groups])
            block.set_submodule(path, PerQueryHead(projection, of_heads))
    before = _cut(output, inputs=left)
    heads = int(left.sum())
    n_groups = int(groups.sum()) if equal else heads
    counts = dict.fromkeys(_HEADS, (sizes.n_heads, heads)) | dict.fromkeys(_GROUPS, (sizes.n_kv_heads, n_groups))
    counts |= dict.fromkeys(_WIDTHS, (before, before // sizes.n_heads * heads))
    counts["num_key_value_groups"] = (sizes.n_heads // sizes.n_kv_heads, heads // n_groups)
    _tell(attention, counts)


def _cut_fused(block: nn.Module, family: Family, sizes: Sizes, left: tuple[Bool[Tensor, " head"], ...]) -> None:
    """Cut the one projection of queries, keys and values to the heads and KV groups that are left of each."""
    projection = block.get_submodule(family.fused)
    outputs = torch.arange(_outputs(projection))[None, None]
    views = fused_views(family, sizes.n_heads, sizes.n_kv_heads, sizes.d_head)
    kept = torch.zeros(outputs.numel(), dtype=torch.bool)
    for view, mask in zip(views, left, strict=True):
        kept[view.read(outputs, 1)[0, 0][mask].flatten()] = True
    _cut(projection, outputs=kept)


def _tell(attention: Any, counts: Mapping[str, tuple[int, int]]) -> None:
    """Replace numbers of the whole layer by those of what is left, in a module and in its configuration.

    Args:
        attention: The module.
        counts: The number of the whole layer, and of what is left, by the names of attributes.
    """
    for name, (whole, left) in counts.items():
        if vars(attention).get(name) == whole:
            setattr(attention, name, left)
    if (config := vars(attention).get("config")) is not None:
        attention.config = copy.copy(config)  # the other layers keep theirs
        vars(attention.config).update({name: left for name, (_, left) in counts.items() if name in vars(config)})


def _cut(
    projection: Any, *, outputs: Bool[Tensor, " piece"] | None = None, inputs: Bool[Tensor, " piece"] | None = None
) -> int:
    """Cut a projection to some pieces, of equal widths, of its outputs or of its inputs: those where the mask is True.

    Returns:
        The number of inputs before.
    """
    linear = isinstance(projection, nn.Linear)
    if not linear and not isinstance(projection, Conv1D):
        raise InputError(f"expected projections that are Linear or Conv1D, not {type(projection).__name__}")
    before = _inputs(projection)
    if outputs is not None:
        projection.weight = _part(projection.weight, 0 if linear else 1, outputs)
        projection.bias = None if projection.bias is None else _part(projection.bias, 0, outputs)
    if inputs is not None:
        projection.weight = _part(projection.weight, 1 if linear else 0, inputs)
    d_out, d_in = projection.weight.shape if linear else projection.weight.shape[::-1]
    names = ("out_features", "in_features") if linear else ("nf", "nx")
    for name, size in zip(names, (d_out, d_in), strict=True):
        setattr(projection, name, size)
    return before


def _inputs(projection: Any) -> int:
    return int(projection.weight.shape[1 if isinstance(projection, nn.Linear) else 0])


def _outputs(projection: Any) -> int:
    return int(projection.weight.shape[0 if isinstance(projection, nn.Linear) else 1])


def _part(weight: Tensor, axis: int, pieces: Bool[Tensor, " piece"]) -> nn.Parameter:
    mask = pieces.repeat_interleave(weight.shape[axis] // len(pieces))
    index = mask.nonzero().flatten().to(weight.device)
    return nn.Parameter(weight.detach().index_select(axis, index), requires_grad=weight.requires_grad)
