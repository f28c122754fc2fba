"""Heads and feed-forward networks taken out of the weights of a transformers model.

The modules of a block are cut or replaced in place, so that transformers' own `forward` functions run on the rest.
Weights may be real or on meta: a model in memory and an empty one, into which a saved pruned model is read, are cut in
the same way.
"""

from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from headcount.results import InputError
from headcount.tracing.ablation.replacements import Constant, NoHeads, PerQueryHead
from headcount.tracing.architectures.anatomy import Anatomy
from headcount.tracing.architectures.families import Family
from headcount.tracing.architectures.sizes import Sizes
from headcount.tracing.removed_parts import Removed, mark_pruned


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


def take_out(hf: Any, anatomy: Anatomy, removed: Removed, means: Means | None = None) -> None:
    """Take heads and feed-forward networks out of a whole model, in place.

    A head goes with its rows of W_Q, W_K and W_V (in grouped queries, those of W_K and W_V go with the last head of the
    group) and its columns of W_O; a feed-forward network goes with all of `Anatomy.ffn`. Cut tensors are new ones; the
    old tensors do not change. With means, each layer that lost heads has a bias of W_O to which W_O · mean of each is
    added, and a network's mean stays in its place.
    """
    for layer, heads in enumerate(removed.heads):
        block = hf.get_submodule(f"{anatomy.family.layers}.{layer}")
        if heads.any() and means is not None:
            _fold(block.get_submodule(anatomy.family.output), means.heads[layer] * heads[:, None])
        if heads.all():
            _take_out_attention(block, anatomy.family, layer)
        elif heads.any():
            _cut_attention(block, anatomy, ~heads)
        if removed.ffns[layer]:
            _take_out_ffn(block, anatomy, layer, None if means is None else means.ffns[layer])
    mark_pruned(hf, removed)


def _take_out_attention(block: nn.Module, family: Family, layer: int) -> None:
    name = family.output.removeprefix(f"{family.attention}.")
    bias: Any = getattr(block.get_submodule(family.output), "bias", None)
    block.set_submodule(family.attention, NoHeads(name, bias, layer))


def _take_out_ffn(block: nn.Module, anatomy: Anatomy, layer: int, mean: Float[Tensor, " d_model"] | None) -> None:
    """Replace the network's last module by its mean, or zeros, and the others by the identity."""
    like: Any = next(block.parameters())
    bias = None if mean is None else nn.Parameter(mean.to(like.device, like.dtype), requires_grad=like.requires_grad)
    for path in anatomy.ffn(layer):
        block.set_submodule(path, Constant(bias) if path == anatomy.family.mlp[-1] else nn.Identity())


def _fold(projection: Any, z: Float[Tensor, "head d_head"]) -> None:
    """Add W_O z to the bias of an output projection, which gets one if it has none."""
    weight = projection.weight.detach().float()
    weight = weight if isinstance(projection, nn.Linear) else weight.T
    added = weight @ z.flatten().to(weight.device)
    bias = added if projection.bias is None else projection.bias.detach().float() + added
    projection.bias = nn.Parameter(bias.to(projection.weight.dtype), requires_grad=projection.weight.requires_grad)


def _cut_attention(block: nn.Module, anatomy: Anatomy, left: Bool[Tensor, " head"]) -> None:
    """Cut a layer's projections to the heads that are left."""
    family, d_head = anatomy.family, anatomy.sizes.d_head
    attention = block.get_submodule(family.attention)
    columns = left.repeat_interleave(d_head)
    if family.fused:
        interleaved = family.fused_layout == "interleaved"
        rows = left.repeat_interleave(3 * d_head) if interleaved else columns.repeat(3)
        _cut(block.get_submodule(family.fused), outputs=rows)
    else:
        _cut(block.get_submodule(family.query), outputs=columns)
        _cut_groups(block, anatomy, left.unflatten(0, (anatomy.sizes.n_kv_heads, -1)).sum(1))
    _cut(block.get_submodule(family.output), inputs=columns)
    heads = int(left.sum())
    for name, value in {"num_heads": heads, "split_size": heads * d_head}.items():  # read by OPT's and GPT-2's forward
        if hasattr(attention, name):
            setattr(attention, name, value)


def _cut_groups(block: nn.Module, anatomy: Anatomy, heads: Int[Tensor, " kv_head"]) -> None:
    """Cut keys and values to the groups that have query heads left; `heads` is the number of these in each group."""
    left = heads[heads > 0]
    equal = bool((left == left[0]).all())
    for path in (anatomy.family.key, anatomy.family.value):
        projection: Any = block.get_submodule(path)
        _cut(projection, outputs=(heads > 0).repeat_interleave(anatomy.sizes.d_head))
        if not equal:
            groups = torch.arange(len(left), device="cpu").repeat_interleave(left)
            block.set_submodule(path, PerQueryHead(projection, groups))
    attention: Any = block.get_submodule(anatomy.family.attention)
    if hasattr(attention, "num_key_value_groups"):
        attention.num_key_value_groups = int(left[0]) if equal else 1


def _cut(
    projection: Any, *, outputs: Bool[Tensor, " d_out"] | None = None, inputs: Bool[Tensor, " d_in"] | None = None
) -> None:
    """Cut a projection to some of its outputs, or of its inputs: those where the mask is True."""
    linear = isinstance(projection, nn.Linear)
    if not linear and not isinstance(projection, Conv1D):
        raise InputError(f"expected projections that are Linear or Conv1D, not {type(projection).__name__}")
    if outputs is not None:
        projection.weight = _part(projection.weight, 0 if linear else 1, outputs)
        projection.bias = None if projection.bias is None else _part(projection.bias, 0, outputs)
    if inputs is not None:
        projection.weight = _part(projection.weight, 1 if linear else 0, inputs)
    d_out, d_in = projection.weight.shape if linear else projection.weight.shape[::-1]
    names = ("out_features", "in_features") if linear else ("nf", "nx")
    for name, size in zip(names, (d_out, d_in), strict=True):
        setattr(projection, name, size)


def _part(weight: Tensor, axis: int, mask: Bool[Tensor, " size"]) -> nn.Parameter:
    index = mask.nonzero().flatten().to(weight.device)
    return nn.Parameter(weight.detach().index_select(axis, index), requires_grad=weight.requires_grad)
