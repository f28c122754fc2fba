"""Hooks that remove heads and feed-forward networks for a run."""

from headcount.tracing.hooks.hook import HookFunction, Zero
from headcount.tracing.hooks.hook_map import HookMap, HookPoint
from headcount.tracing.removed import Removed


def removal_hooks(removed: Removed, hook_map: HookMap) -> list[tuple[HookPoint, HookFunction]]:
    """Return the hooks that remove these parts: a head's z, and what a feed-forward network adds, become zero."""
    hooks: list[tuple[HookPoint, HookFunction]] = []
    for layer, heads in enumerate(removed.heads):
        if heads.any():
            hooks.append((hook_map[f"blocks.{layer}.attn.hook_z"], Zero(heads)))
    for layer in removed.ffns.nonzero().flatten().tolist():
        hooks.append((hook_map[f"blocks.{layer}.hook_mlp_out"], Zero()))
    return hooks
