"""Structural pruning: the logits of `masked`, from a model whose weights lack the parts."""

import copy
from collections import Counter

import torch
from jaxtyping import Bool
from torch import Tensor

from headcount.results import InputError
from headcount.tracing.ablation.cut_check import check_against_ablation
from headcount.tracing.ablation.cut_weights import Means, take_out
from headcount.tracing.ablation.fill import fill
from headcount.tracing.ablation.masks import with_present_removals
from headcount.tracing.architectures.anatomy import empty_copy
from headcount.tracing.devices import copies_fit, place_as
from headcount.tracing.hooks.modules import quantisation
from headcount.tracing.model import Model
from headcount.tracing.present import present_replacements
from headcount.tracing.removed_parts import HeadSet, LayerSet, Removed, Replacement, mark_means
from headcount.tracing.wrapping import take_limits, wrap_for_nnsight


def pruned(
    model: Model,
    heads: HeadSet | None = None,
    ffns: LayerSet | None = None,
    *,
    kv_groups: HeadSet | None = None,
    replacement: Replacement | None = None,
    in_each_pass: bool = False,
) -> Model:
    """Return a model from whose weights parts are taken out: the logits of `masked`, at less cost.

    A head goes with its rows of W_Q, W_K and W_V and its columns of W_O (W_O's bias stays); in grouped queries, W_K and
    W_V go with the last head of their group. A feed-forward network goes whole, with the norms that serve it alone.
    Tensors that are not cut are shared with the whole model, which does not change: before you train the smaller one,
    copy it (`copy.deepcopy`) and call `requires_grad_(True)` on its `hf`.

    `sizes` remain those of the whole model. A layer that lost heads has no hooks with a head axis (`blocks.l.attn.*`),
    and one without feed-forward network none inside it: to name one is an error. The residual stream's hooks,
    `hook_attn_out` and `hook_mlp_out` are everywhere. A pruned model can be neither masked nor pruned again.

    Args:
        model: The model; parts that are removed at present (`masked`) go as well.
        heads: Boolean mask [layer, head], True where removed; or pairs [(layer, head), ...], as from `scores.top(3)`.
        ffns: Boolean mask [layer], True where removed; or layers.
        kv_groups: KV groups, as heads: a group goes with all heads that share its keys and values.
        replacement: The means that stay in the place of these parts' outputs: those of heads in W_O's bias, which is
            added where there is none. `hc.pruned` makes them from `kind="mean", reference=examples`.
        in_each_pass: True cuts the attention of a layer whenever it runs, where a second copy of its weights does not
            fit into memory: the same numbers, and a model that cannot be saved.

    Returns:
        The smaller model, ready to run.

    Raises:
        InputError: A mask's shape is not the model's, a part does not exist, the model is pruned already or is
            on a server or streamed, its modules were changed so that they no longer fit its configuration, its
            type is not described and its blocks, cut so, would add other values than under `masked`, or the replacement
            is no mean, or one for a type that is not described.
    """
    check_cut(model)
    if present_replacements(model):
        raise InputError(
            f"parts of {model.name} have other values than zeros at present: prune it outside of the block"
        )
    removed = with_present_removals(model, heads, ffns, kv_groups)
    means = None if replacement is None else _means(model, replacement, heads, ffns, kv_groups)
    if not model.derived:
        return _without(model, removed, means, replacement, in_each_pass=in_each_pass)
    if means is not None:
        raise InputError(
            f"{model.name} is of a type that is not described, in whose weights no means stay: use ablated"
        )
    try:
        small = _without(model, removed)
        check_against_ablation(model, small, removed)
    except InputError as error:
        raise InputError(f"the weights of {model.name} cannot be cut so: {error}; use masked") from error
    return small


def cut_fits(model: Model, heads: Bool[Tensor, "layer head"]) -> bool:
    """Return True if a second copy of all attention weights without these heads fits beside the model."""
    sizes: Counter[torch.device] = Counter()
    for layer in model.layers_with_heads:
        attention = model.block(layer).get_submodule(model.paths(layer).attention)
        cut = heads[layer].any() and not heads[layer].all()
        for weight in attention.parameters() if cut else ():
            sizes[weight.device] += weight.numel() * weight.itemsize * int((~heads[layer]).sum()) // len(heads[layer])
    return copies_fit(sizes)


def _without(
    model: Model,
    removed: Removed,
    means: Means | None = None,
    replacement: Replacement | None = None,
    *,
    in_each_pass: bool = False,
) -> Model:
    """Return a model without these parts, in whose place means may stay."""
    small = empty_copy(model.hf)
    fill(small, {**model.hf.state_dict(), **dict(model.hf.named_buffers())})
    small.generation_config = copy.deepcopy(getattr(model.hf, "generation_config", None))
    take_out(small, model.anatomy, removed, means, in_each_pass=in_each_pass)
    if means is not None and replacement is not None:
        mark_means(small, replacement.record)
    place_as(small, model.hf)
    # Its hooks are those of the whole model, which were checked when that was opened; a sweep prunes hundreds of times.
    nnsight_model = wrap_for_nnsight(small, getattr(model.nnsight, "tokenizer", None))
    pruned_model = Model(
        small,
        model.tokenizer,
        name=model.name,
        revision=model.revision,
        nnsight_model=nnsight_model,
        anatomy=model.anatomy,
    )
    take_limits(pruned_model, model)
    return pruned_model


def _means(model: Model, replacement: Replacement, *parts: HeadSet | None) -> Means:
    """Return the values that stay: means of these parts, and zeros for those that are removed at present.

    Raises:
        InputError: The replacement depends on the prompt.
    """
    if replacement.heads is None or replacement.ffns is None:
        raise InputError(
            f"kind={replacement.kind!r} puts other values into the place of a part for every prompt, and weights hold "
            "one: use kind='mean', or ablated"
        )
    heads, ffns, kv_groups = parts
    removed = Removed.of(model.sizes, heads, ffns, kv_groups=kv_groups)
    return Means(
        replacement.heads.where(removed.heads[..., None], 0.0), replacement.ffns.where(removed.ffns[:, None], 0.0)
    )


def check_cut(model: Model) -> None:
    """Refuse a model whose weights cannot be cut.

    Raises:
        InputError: Its weights are quantised, on a server or on disk, or it was opened without weights and is of a type
            that is not described.
    """
    if method := quantisation(model.hf):
        raise InputError(
            f"the weights of {model.name} are quantised ({method}), and numbers that are cut would lose their scales: "
            "use masked, or pass model.hf.dequantize() to load_model"
        )
    if not model.in_memory or (model.derived and next(model.hf.parameters()).is_meta):
        raise InputError(f"{model.name} is not in memory, and its weights stay as they are: use masked")
