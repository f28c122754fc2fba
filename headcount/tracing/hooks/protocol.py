"""What formulas, hooks and executors need of a model, so that none of them needs the class `Model`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from torch import nn

    from headcount.tracing.architectures.families import Family
    from headcount.tracing.architectures.sizes import Sizes
    from headcount.tracing.hooks.passes import ForwardPass
    from headcount.tracing.removed import Removed


class TracedModel(Protocol):
    """A model that hooks and formulas can work on: a `Model`, or a `ServedModel` on a server.

    Attributes:
        nnsight: The model as nnsight sees it.
        hf: The transformers model.
        name: The model's name in messages.
        family: Where its architecture keeps its parts.
        sizes: How large it is.
        pruned: Parts that were taken out of the weights; None for a whole model.
    """

    nnsight: Any
    hf: Any
    name: str
    family: Family
    sizes: Sizes
    pruned: Removed | None

    def envoy(self, path: str) -> Any:
        """Return the nnsight envoy of a module."""

    def block(self, layer: int) -> nn.Module:
        """Return a block with its weights."""


class Executor(Protocol):
    """Runs forward passes elsewhere than in this process's memory."""

    @property
    def fingerprint(self) -> str:
        """Return what tells the weights from others."""

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

    def keep_jobs(self, path: Path, notify: Callable[[str], Any] | None = None) -> None:
        """Keep the numbers of jobs in a file, so that a later process fetches what this one submitted."""


class StreamingExecutor(Executor, Protocol):
    """Runs passes block by block, with weights read from disk."""

    @property
    def stored_bytes(self) -> int:
        """Return the size of the model's tensors on disk."""

    def fits(self, rows: int, length: int) -> bool:
        """Return True if a batch of so many sequences of so many tokens may pass through a block at once."""

    def block(self, layer: int) -> nn.Module:
        """Return a block with its weights."""
