"""Taking heads and feed-forward networks out of a transformers model.

The modules of a block are narrowed or replaced where they stand, so that transformers' own `forward` functions run on
what is left. Weights may be real or on meta: the same cuts serve a model in memory and an empty one that a saved pruned
model is read into.
"""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from headcount.results import InputError
from headcount.tracing.architectures.anatomy import Anatomy
from headcount.tracing.architectures.families import Family
from headcount.tracing.hooks.hook_map import HookMap
from headcount.tracing.removed import Removed


class Constant(nn.Module):
    """Returns its bias, or zeros, whatever comes in.

    Args:
        bias: What is returned at every position [d_model].
    """

    bias: nn.Parameter | None

    def __init__(self, bias: nn.Parameter | None = None) -> None:
        super().__init__()
        self.register_parameter("bias", bias)

    def forward(self, x: Tensor) -> Tensor:
        """Bias or zeros in the shape of `x`."""
        return torch.zeros_like(x) if self.bias is None else torch.zeros_like(x) + self.bias


class NoHeads(nn.Module):
    """The attention of a layer without heads: W_O's bias is all that it adds.

    Args:
        name: What the output projection is called in this architecture.
        bias: Its bias.
        layer: The block's number, by which the cache of generation knows it.
    """

    def __init__(self, name: str, bias: nn.Parameter | None, layer: int) -> None:
        super().__init__()
        self.name, self.layer = name, layer
        self.add_module(name, Constant(bias))

    def forward(
        self, hidden_states: Tensor, past_key_values: Any = None, layer_past: Any = None, **_: Any
    ) -> tuple[Tensor, None]:
        """As the attention modules of transformers are called; `layer_past` is GPT-NeoX's name for the cache."""
        cache = past_key_values if past_key_values is not None else layer_past
        if cache is not None:  # which counts the tokens so far by the length of its keys
            token = hidden_states[:, None, :, :1]
            cache.update(token, token, self.layer)
        return self.get_submodule(self.name)(hidden_states), None


class PerQueryHead(nn.Linear):
    """Keys or values, repeated so that each query head has its own; for groups that have become unequal.

    Args:
        projection: The projection to one head a group.
        groups: The group of each query head.
    """

    def __init__(self, projection: nn.Linear, groups: Int[Tensor, " head"]) -> None:
        super().__init__(projection.in_features, projection.out_features, projection.bias is not None, device="meta")
        self.weight, self.bias = projection.weight, projection.bias
        self.n_groups = int(groups.max()) + 1
        self.register_buffer("groups", groups.to(projection.weight.device), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """[.., d_model] to [.., head * d_head]."""
        heads = super().forward(x).unflatten(-1, (self.n_groups, -1))
        return heads.index_select(-2, self.groups).flatten(-2)


def take_out(hf: Any, anatomy: Anatomy, removed: Removed) -> None:
    """Take heads and feed-forward networks out of a whole model, in place.

    Removing a head takes its rows of W_Q, W_K and W_V (in grouped queries those of W_K and W_V when the last head of
    the group goes) and its columns of W_O; removing a feed-forward network takes all of `Anatomy.ffn`. Tensors that are
    cut are made anew; the old ones stay as they are.
    """
    for layer, gone in enumerate(removed.heads):
        block = hf.get_submodule(f"{anatomy.family.layers}.{layer}")
        if gone.all():
            _silence(block, anatomy.family, layer)
        elif gone.any():
            _narrow_attention(block, anatomy, ~gone)
        if removed.ffns[layer]:
            _drop_ffn(block, anatomy)
    hf.headcount_removed = removed


def taken_out(hf: Any) -> Removed | None:
    """What `take_out` has taken out of this model; None if it is whole."""
    found: Removed | None = getattr(hf, "headcount_removed", None)
    return found


def fill(hf: Any, tensors: Mapping[str, Tensor]) -> None:
    """Give an empty model its parameters and buffers, by name; the tensors themselves, not copies.

    Raises:
        InputError: A tensor is missing, has another shape, belongs to nothing in the model, or is tied to another.
    """
    state = hf.state_dict(keep_vars=True).keys()
    passing = {name for name, _ in hf.named_buffers()} - state
    if unknown := sorted(tensors.keys() - state - passing):
        raise InputError(f"{len(unknown)} tensors belong to no part of a {type(hf).__name__}, first {unknown[0]}")
    try:
        hf.load_state_dict({name: tensors[name] for name in tensors.keys() & state}, strict=False, assign=True)
    except RuntimeError as error:
        raise InputError(" ".join(str(error).split())[:300]) from error
    for name in passing & tensors.keys():
        owner, _, leaf = name.rpartition(".")
        hf.get_submodule(owner).register_buffer(leaf, tensors[name], persistent=False)
    hf.tie_weights()
    _check_filled(hf, tensors)
    hf.requires_grad_(False)


def _check_filled(hf: Any, tensors: Mapping[str, Tensor]) -> None:
    """Whether every parameter and buffer is the tensor of its name."""
    if missing := sorted({name for name, _ in [*hf.named_parameters(), *hf.named_buffers()]} - tensors.keys()):
        raise InputError(f"{len(missing)} tensors are missing, first {missing[0]}")
    came = hf.state_dict()
    if untied := sorted(name for name in came.keys() & tensors if came[name].data_ptr() != tensors[name].data_ptr()):
        raise InputError(f"{untied[0]} is tied to another tensor in the configuration, but not in the model")


def lost_hooks(hooks: HookMap, anatomy: Anatomy, removed: Removed) -> dict[str, str]:
    """Hook names that a pruned model does not serve, and why.

    A layer that lost heads has no hooks with a head axis: what they would show is numbered otherwise than the heads of
    the model.
    """
    lost = {}
    for name, site in hooks.items():
        layer, inside = site.rank[0], name.partition(".")[2].partition(".")[2]
        if inside.startswith("attn.") and removed.heads[layer].any():
            left = anatomy.sizes.n_heads - int(removed.heads[layer].sum())
            lost[name] = f"layer {layer} was pruned to {left} of {anatomy.sizes.n_heads} heads"
        if inside in _lost_with_ffn(anatomy) and removed.ffns[layer]:
            lost[name] = f"the feed-forward network of layer {layer} was pruned"
    advice = "use masked on the whole model, in which every part keeps its place"
    return {name: f"{name} is not there: {reason}; {advice}" for name, reason in lost.items()}


def _lost_with_ffn(anatomy: Anatomy) -> set[str]:
    inside = {"mlp.hook_pre", "mlp.hook_pre_linear", "mlp.hook_post"}
    return inside if anatomy.variant.post_norm else inside | {"ln2.hook_normalized"}


def _silence(block: nn.Module, family: Family, layer: int) -> None:
    name = family.output.removeprefix(f"{family.attention}.")
    bias: Any = getattr(block.get_submodule(family.output), "bias", None)
    block.set_submodule(family.attention, NoHeads(name, bias, layer))


def _drop_ffn(block: nn.Module, anatomy: Anatomy) -> None:
    """What is last in the network itself becomes zeros; the rest passes on what it gets."""
    for path in anatomy.ffn():
        block.set_submodule(path, Constant() if path == anatomy.family.mlp[-1] else nn.Identity())


def _narrow_attention(block: nn.Module, anatomy: Anatomy, kept: Bool[Tensor, " head"]) -> None:
    family, d_head = anatomy.family, anatomy.sizes.d_head
    attention = block.get_submodule(family.attention)
    columns = kept.repeat_interleave(d_head)
    if family.fused:
        interleaved = family.fused_layout == "interleaved"
        rows = kept.repeat_interleave(3 * d_head) if interleaved else columns.repeat(3)
        _narrow(block.get_submodule(family.fused), outputs=rows)
    else:
        _narrow(block.get_submodule(family.query), outputs=columns)
        _narrow_groups(block, anatomy, kept.unflatten(0, (anatomy.sizes.n_kv_heads, -1)).sum(1))
    _narrow(block.get_submodule(family.output), inputs=columns)
    heads = int(kept.sum())
    for name, value in {"num_heads": heads, "split_size": heads * d_head}.items():  # read by OPT's and GPT-2's forward
        if hasattr(attention, name):
            setattr(attention, name, value)


def _narrow_groups(block: nn.Module, anatomy: Anatomy, heads: Int[Tensor, " kv_head"]) -> None:
    """Cut keys and values to the groups of which some query heads are left; `heads` is how many."""
    left = heads[heads > 0]
    equal = bool((left == left[0]).all())
    for path in (anatomy.family.key, anatomy.family.value):
        projection: Any = block.get_submodule(path)
        _narrow(projection, outputs=(heads > 0).repeat_interleave(anatomy.sizes.d_head))
        if not equal:
            groups = torch.arange(len(left), device="cpu").repeat_interleave(left)
            block.set_submodule(path, PerQueryHead(projection, groups))
    attention: Any = block.get_submodule(anatomy.family.attention)
    if hasattr(attention, "num_key_value_groups"):
        attention.num_key_value_groups = int(left[0]) if equal else 1


def _narrow(projection: Any, *, outputs: Tensor | None = None, inputs: Tensor | None = None) -> None:
    """Keep some outputs of a projection, or some of its inputs: True where kept."""
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


def _part(weight: Tensor, axis: int, kept: Bool[Tensor, " size"]) -> nn.Parameter:
    index = kept.nonzero().flatten().to(weight.device)
    return nn.Parameter(weight.detach().index_select(axis, index), requires_grad=weight.requires_grad)
