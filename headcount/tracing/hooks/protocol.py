"""Protocols: the parts of a model that formulas and hooks use, and the methods of its executors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from torch import nn

    from headcount.tracing.architectures.anatomy import Anatomy
    from headcount.tracing.architectures.families import Family
    from headcount.tracing.architectures.sizes import Sizes
    from headcount.tracing.hooks.passes import ForwardPass
    from headcount.tracing.removed_parts import Removed


class TracedModel(Protocol):
    """A model for hooks and formulas: a `Model`, or a `ServedModel` on a server.

    Attributes:
        nnsight: The model as nnsight sees it.
        hf: The transformers model.
        name: The model's name in messages.
        anatomy: Its parts.
        family, sizes: The paths of its modules, and its sizes: two of them.
        pruned: Parts that were taken out of the weights; None for a whole model.
    """

    nnsight: Any
    hf: Any
    name: str
    anatomy: Anatomy
    family: Family
    sizes: Sizes
    pruned: Removed | None

    def envoy(self, path: str) -> Any:
        """Return the nnsight envoy of a module."""

    def paths(self, layer: int) -> Family:
        """Return the family with the paths of the modules in a block."""

    def block(self, layer: int) -> nn.Module:
        """Return a block with its weights."""


class Executor(Protocol):
    """Runs forward passes of a model whose weights are not in this process's memory."""

    @property
    def fingerprint(self) -> str:
        """Return a digest that identifies the weights."""

    def run(
        self, model: Any, passes: Sequence[ForwardPass], progress: Callable[[float], Any] | None = None
    ) -> list[Any]:
        """Run passes, and return the result of each."""


class RemoteExecutor(Executor, Protocol):
    """Runs passes on a server.

    Attributes:
        sent: Bytes sent so far.
        received: Bytes of results received so far.
    """

    sent: int
    received: int

    def record_jobs(self, path: Path, notify: Callable[[str], Any] | None = None) -> None:
        """Record the numbers of jobs in a file, so that a later process fetches results of this one's jobs."""


class StreamingExecutor(Executor, Protocol):
    """Runs passes block by block, with weights read from disk."""

    @property
    def stored_bytes(self) -> int:
        """Return the size of the model's tensors on disk."""

    def fits(self, rows: int, length: int) -> bool:
        """Return True if `rows` sequences of `length` tokens may pass through a block at once."""

    def block(self, layer: int) -> nn.Module:
        """Return a block with its weights."""
