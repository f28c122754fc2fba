"""Changes of a model that last for a block: parts that are removed, and hooks that are called in every run.

They belong to the thread (or the asyncio task) that entered the block: the model does not change, and runs elsewhere do
not see them. Blocks may end in any order.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from headcount.tracing.removed_parts import Removed


class Change:
    """A change of a model.

    Attributes:
        model: The model.
        removed: Parts that are removed.
        fwd_hooks: (name, function) pairs.
    """

    def __init__(self, model: Any, removed: Removed | None = None, fwd_hooks: Sequence[Any] = ()) -> None:
        self.model, self.removed, self.fwd_hooks = model, removed, fwd_hooks


_changes: ContextVar[tuple[Change, ...]] = ContextVar("headcount_changes", default=())


@contextmanager
def changed(change: Change) -> Iterator[None]:
    """Let a change last for a block."""
    _changes.set((*_changes.get(), change))
    try:
        yield
    finally:
        _changes.set(tuple(other for other in _changes.get() if other is not change))


def present_removals(model: Any) -> Removed | None:
    """Return the parts that are removed from a model at present; None if none are."""
    removed: Removed | None = None
    for change in _changes.get():
        if change.model is model and change.removed is not None:
            removed = change.removed if removed is None else removed | change.removed
    return removed


def present_hooks(model: Any) -> list[Any]:
    """Return the hooks that are called in every run of a model at present, in the order of their blocks."""
    return [hook for change in _changes.get() if change.model is model for hook in change.fwd_hooks]
