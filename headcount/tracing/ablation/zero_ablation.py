"""Zero ablation for a run: heads and feed-forward networks whose outputs are set to zero."""

from collections.abc import Iterator
from contextlib import contextmanager

from headcount.results import InputError
from headcount.tracing.model import Model
from headcount.tracing.removed_parts import HeadSet, LayerSet, Removed


def with_present_removals(model: Model, heads: HeadSet | None, ffns: LayerSet | None) -> Removed:
    """Return these parts together with those that are removed at present.

    Raises:
        InputError: A mask's shape is not the model's, or a part does not exist; or the model is structurally pruned.
    """
    if model.pruned is not None:
        raise InputError(f"{model.name} is structurally pruned already: remove all parts at once from the whole model")
    removed = Removed.of(model.sizes, heads, ffns)
    return removed if model.removed is None else model.removed | removed


@contextmanager
def masked(model: Model, heads: HeadSet | None = None, ffns: LayerSet | None = None) -> Iterator[Model]:
    """Run a model without some parts: every call of `model` inside the block is without them.

    A removed head's output before W_O is zero (W_O's bias stays); a removed feed-forward network adds zero to the
    residual stream. Blocks nest: an inner one removes its parts as well.

    Args:
        model: The model; it is as before when the block ends.
        heads: Mask [layer, head], True where removed, or pairs [(layer, head), ...].
        ffns: Mask [layer], True where removed, or layers.

    Raises:
        InputError: A mask's shape is not the model's, or a part does not exist; or the model is structurally pruned.
    """
    before = model.removed
    model.removed = with_present_removals(model, heads, ffns)
    try:
        yield model
    finally:
        model.removed = before
