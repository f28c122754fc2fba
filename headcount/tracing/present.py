"""Changes of a model that last for a block: parts that are removed, and hooks that are called in every run.

They belong to the thread (or the asyncio task) that entered the block: the model does not change, and runs elsewhere do
not see them. Blocks may end in any order.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from headcount.tracing.removed_parts import Removed, Replacement


class Change:
    """A change of a model.

    Attributes:
        model: The model.
        removed: Parts that are removed.
        fwd_hooks: (name, function) pairs.
        replacement: The values in the place of the removed parts' outputs; None for zeros.
    """

    def __init__(
        self,
        model: Any,
        removed: Removed | None = None,
        fwd_hooks: Sequence[Any] = (),
        replacement: Replacement | None = None,
    ) -> None:
        self.model, self.removed, self.fwd_hooks, self.replacement = model, removed, fwd_hooks, replacement


_changes: ContextVar[tuple[Change, ...]] = ContextVar("headcount_changes", default=())


@contextmanager
def changed(change: Change) -> Iterator[None]:
    """Let a change last for a block."""
    _changes.set((*_changes.get(), change))
    try:
        yield
    finally:
        _changes.set(tuple(other for other in _changes.get() if other is not change))


def present_changes(model: Any) -> list[Change]:
    """Return the changes of a model at present, in the order of their blocks."""
    return [change for change in _changes.get() if change.model is model]


def present_removals(model: Any) -> Removed | None:
    """Return the parts that are removed from a model at present; None if none are."""
    removed: Removed | None = None
    for change in present_changes(model):
        if change.removed is not None:
            removed = change.removed if removed is None else removed | change.removed
    return removed


def present_replacements(model: Any) -> list[tuple[Removed, Replacement]]:
    """Return the parts of a model whose outputs are replaced by other values than zeros at present, block by block."""
    changes = present_changes(model)
    return [(change.removed, change.replacement) for change in changes if change.removed and change.replacement]


def replaced_by_rows(model: Any) -> bool:
    """Return True if outputs are replaced, position by position, by those of another row of the same length."""
    return any(replacement.rows is not None for _, replacement in present_replacements(model))


def present_hooks(model: Any) -> list[Any]:
    """Return the hooks that are called in every run of a model at present, in the order of their blocks."""
    return [hook for change in present_changes(model) for hook in change.fwd_hooks]
