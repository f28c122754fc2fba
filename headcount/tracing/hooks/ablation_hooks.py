"""Hooks that ablate heads and feed-forward networks, and the names of hooks that a pruned model lacks."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from headcount.results import InputError
from headcount.tracing.architectures.anatomy import Anatomy
from headcount.tracing.hooks.execution import PlacedHook, plan_pass
from headcount.tracing.hooks.hook import HookFunction, Put, PutRecord, RecordParts, Zero
from headcount.tracing.hooks.hook_map import HookMap
from headcount.tracing.hooks.passes import ForwardPass
from headcount.tracing.present import Change
from headcount.tracing.removed_parts import Removed, Replacement


def plan_ablated(
    hook_map: HookMap,
    changes: Sequence[Change],
    tokens: Int[Tensor, "batch pos"],
    hooks: Sequence[PlacedHook],
    finish: Any = None,
    *,
    real: Bool[Tensor, "batch pos"] | None = None,
    **options: Any,
) -> ForwardPass:
    """Return a pass in which the parts that changes remove are ablated, before other hooks are called.

    Where values of other rows take their places, a pass over these rows goes before it (`ForwardPass.before`), with the
    parts ablated that blocks around that one remove. Hooks in modules that are skipped are left out.

    Args:
        hook_map: The model's hook map.
        changes: The changes, in the order of their blocks.
        tokens: The batch.
        hooks: The other hooks.
        finish: As for `plan_pass`.
        real: True for tokens, False for padding; None where there is no padding.
        options: As for `plan_pass`.

    Raises:
        InputError: Values of other rows have no meaning for this pass.
    """
    skipped = tuple(f"{point.module}." for point, _ in hooks if point.port == "skip")
    ablations: list[PlacedHook] = []
    before: list[ForwardPass] = []
    for change in changes:
        placed = [hook for hook in _change_hooks(change, hook_map) if not hook[0].module.startswith(skipped)]
        records = [(point, function.recorder) for point, function in placed if isinstance(function, PutRecord)]
        if records and change.replacement is not None:
            rows = _other_rows(change.replacement, tokens, real, options)
            with torch.no_grad():
                before.append(plan_pass(rows, [*ablations, *records], **options | {"only_hooks": True}))
        ablations += placed
    forward = plan_pass(tokens, [*ablations, *hooks], finish, **options)
    forward.before = before
    return forward


def _other_rows(
    replacement: Replacement, tokens: Tensor, real: Tensor | None, options: dict[str, Any]
) -> Int[Tensor, "batch pos"]:
    """Return the rows whose values take the place of these ones'; padding stays where it is."""
    kind = replacement.kind
    if replacement.rows is None or "visible" in options.get("inputs", {}):
        raise InputError(f"with kind={kind!r} a row's values are another row's: continuations cannot share a row")
    if options.get("only_hooks"):
        raise InputError(
            f"with kind={kind!r} values come from prompts of a task, which say nothing about scores on random tokens "
            "or single patterns: use kind='mean', or 'zero'"
        )
    mask = torch.ones_like(tokens, dtype=torch.bool) if real is None else real.to(tokens.device)
    rows = [tuple(row[chosen].tolist()) for row, chosen in zip(tokens, mask, strict=True)]
    others = tokens.clone()
    others[mask] = torch.tensor(sum(replacement.rows(rows), ()), dtype=tokens.dtype, device=tokens.device)
    return others


def _change_hooks(change: Change, hook_map: HookMap) -> list[PlacedHook]:
    """Return the hooks that put values into the place of a removed head's z and of a removed network's output."""
    removed, replacement = change.removed, change.replacement
    if removed is None:
        return []
    hooks: list[PlacedHook] = []
    for layer, heads in enumerate(removed.heads):
        if heads.any():
            (point,) = hook_map.find(f"blocks.{layer}.attn.hook_z")
            hooks.append((point, _substitute(replacement, layer, heads)))
    for layer, experts in enumerate(removed.experts):
        if experts.any():
            (point,) = hook_map.find(f"blocks.{layer}.mlp.hook_router")
            hooks.append((point, Zero(experts)))
    for layer in removed.ffns.nonzero().flatten().tolist():
        (point,) = hook_map.find(f"blocks.{layer}.hook_mlp_out")
        hooks.append((point, _substitute(replacement, layer)))
    return hooks


def _substitute(
    replacement: Replacement | None, layer: int, heads: Bool[Tensor, " head"] | None = None
) -> HookFunction:
    """Return the hook that replaces the z of some heads, or a feed-forward network's output."""
    if replacement is None:
        return Zero(heads)
    means = replacement.ffns if heads is None else replacement.heads
    return PutRecord(RecordParts(heads), heads) if means is None else Put(means[layer], heads)


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
    lost = {"mlp.hook_pre", "mlp.hook_pre_linear", "mlp.hook_post", "mlp.hook_router", "mlp.hook_expert_out"}
    return lost if anatomy.variant.post_norm else lost | {"ln2.hook_normalized"}
