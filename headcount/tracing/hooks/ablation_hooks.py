"""Hooks that zero ablated heads and feed-forward networks, and the names of hooks that a pruned model lacks."""

from headcount.tracing.architectures.anatomy import Anatomy
from headcount.tracing.hooks.hook import HookFunction, Zero
from headcount.tracing.hooks.hook_map import HookMap, HookPoint
from headcount.tracing.removed_parts import Removed


def removal_hooks(removed: Removed, hook_map: HookMap) -> list[tuple[HookPoint, HookFunction]]:
    """Return the hooks that set a removed head's z, and a removed feed-forward network's output, to zero."""
    hooks: list[tuple[HookPoint, HookFunction]] = []
    for layer, heads in enumerate(removed.heads):
        if heads.any():
            (point,) = hook_map.find(f"blocks.{layer}.attn.hook_z")
            hooks.append((point, Zero(heads)))
    for layer, experts in enumerate(removed.experts):
        if experts.any():
            (point,) = hook_map.find(f"blocks.{layer}.mlp.hook_router")
            hooks.append((point, Zero(experts)))
    for layer in removed.ffns.nonzero().flatten().tolist():
        hooks.append((hook_map[f"blocks.{layer}.hook_mlp_out"], Zero()))
    return hooks


def lost_hooks(hook_map: HookMap, anatomy: Anatomy, removed: Removed) -> dict[str, str]:
    """Return the names of the hooks that a pruned model lacks, and for each an error message that says why.

    A layer that lost heads has no hooks with a head axis: its heads no longer have the numbers of the whole model's.
    """
    lost = {}
    for name, point in hook_map.items():
        layer, suffix = point.rank[0], name.partition(".")[2].partition(".")[2]
        if suffix.startswith("attn.") and removed.heads[layer].any():
            left = anatomy.sizes.n_heads - int(removed.heads[layer].sum())
            lost[name] = f"layer {layer} was pruned to {left} of {anatomy.sizes.n_heads} heads"
        if suffix in _lost_with_ffn(anatomy) and removed.ffns[layer]:
            lost[name] = f"the feed-forward network of layer {layer} was pruned"
    advice = "use masked on the whole model, in which every part keeps its place"
    return {name: f"{name} is not there: {reason}; {advice}" for name, reason in lost.items()}


def _lost_with_ffn(anatomy: Anatomy) -> set[str]:
    lost = {"mlp.hook_pre", "mlp.hook_pre_linear", "mlp.hook_post"}
    return lost if anatomy.variant.post_norm else lost | {"ln2.hook_normalized"}
