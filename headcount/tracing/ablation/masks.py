"""Ablation for a run: heads and feed-forward networks whose outputs are set to zero, or replaced by other values."""

from collections.abc import Iterator
from contextlib import contextmanager

from headcount.results import InputError
from headcount.tracing.model import Model
from headcount.tracing.present import Change, changed
from headcount.tracing.removed_parts import HeadSet, LayerSet, Removed, Replacement


def with_present_removals(
    model: Model, heads: HeadSet | None, ffns: LayerSet | None, kv_groups: HeadSet | None = None
) -> Removed:
    """Return these parts together with those that are removed at present.

    Raises:
        InputError: A mask's shape is not the model's, or a part does not exist; or the model is structurally pruned.
    """
    removed, present = _removals(model, heads, ffns, kv_groups=kv_groups), model.removed
    removed = removed if present is None else present | removed
    if removed.experts.any():
        raise InputError(
            f"experts of {model.name} are removed at present (masked): they cannot be taken out of weights"
        )
    return removed


def _removals(model: Model, heads: HeadSet | None, ffns: LayerSet | None, **more: HeadSet | None) -> Removed:
    if model.pruned is not None:
        raise InputError(f"{model.name} is structurally pruned already: remove all parts at once from the whole model")
    if more.get("kv_groups") is not None and not model.variant.groups_alike:
        raise InputError(f"layers of {model.name} differ in their number of KV groups: remove heads= instead")
    return Removed.of(model.sizes, heads, ffns, **more)


@contextmanager
def masked(
    model: Model,
    heads: HeadSet | None = None,
    ffns: LayerSet | None = None,
    *,
    kv_groups: HeadSet | None = None,
    experts: HeadSet | None = None,
) -> Iterator[Model]:
    """Run a model without some parts: every call of `model` inside the block, in this thread, is without them.

    A removed head's output before W_O is zero (W_O's bias stays); a removed feed-forward network adds zero to the
    residual stream. A removed expert's weight is zero for the tokens that are routed to it; their other experts keep
    the weights they have. Blocks nest: an inner one removes its parts as well.

    Args:
        model: The model; it does not change, and other threads run it whole.
        heads: Boolean mask [layer, head], True where removed; or pairs [(layer, head), ...], as from `scores.top(3)`.
        ffns: Boolean mask [layer], True where removed; or layers.
        kv_groups: KV groups, as heads: all heads that share a group's keys and values are removed.
        experts: Experts of mixtures, as heads: [layer, expert], or pairs.

    Raises:
        InputError: A mask's shape is not the model's, or a part does not exist; or the model is structurally pruned.
    """
    with changed(Change(model, _removals(model, heads, ffns, kv_groups=kv_groups, experts=experts))):
        yield model


@contextmanager
def replaced(
    model: Model,
    heads: HeadSet | None = None,
    ffns: LayerSet | None = None,
    replacement: Replacement | None = None,
    *,
    kv_groups: HeadSet | None = None,
) -> Iterator[Model]:
    """Run a model with other values in the place of some parts' outputs; without a replacement, as `masked`.

    Args:
        model: The model; as for `masked`.
        heads: As for `masked`.
        ffns: As for `masked`.
        replacement: The values.
        kv_groups: As for `masked`.

    Raises:
        InputError: As `masked`.
    """
    removed = _removals(model, heads, ffns, kv_groups=kv_groups)
    with changed(Change(model, removed, replacement=replacement)):
        yield model
