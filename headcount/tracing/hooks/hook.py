"""Hook functions of the toolkit: record a value, replace it, or silence it.

A hook is called with a value of the forward pass and a `Hook` that says where. It returns None to leave the value, or a
tensor of its shape to put in its place, as in TransformerLens.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from headcount.results import InputError
from headcount.travel import travels

if TYPE_CHECKING:
    from jaxtyping import Bool, Int

HookFunction = Callable[..., Any]
"""`fn(value, hook)` returns None to leave the value, or a tensor of its shape to put in its place."""


@travels
class Hook:
    """Where a hook function is called.

    Attributes:
        name: The hook's name.
        model: The model that runs: a `Model`, or a `ServedModel` on a server.
    """

    def __init__(self, name: str, model: Any = None) -> None:
        self.name, self.model = name, model

    def layer(self) -> int:
        """Return the block's number.

        Raises:
            InputError: The hook is not in a block.
        """
        parts = self.name.split(".")
        if parts[0] != "blocks":
            raise InputError(f"{self.name} is not in a block and has no layer")
        return int(parts[1])


Finish = Callable[[Tensor, Hook], Any]
"""Turns the logits of a forward pass into its result, where the model is."""


@travels
class Recorder:
    """Base of hooks that record something: `records` is there afterwards, wherever the model runs.

    Attributes:
        records: Tensors, or lists and dicts of them.
        returns: False if only other hooks of the same run read the records; they then stay where the model is.
    """

    def __init__(self, *, returns: bool = True) -> None:
        self.records: list[Any] = []
        self.returns = returns


@travels
class RecordValue(Recorder):
    """Records a copy of every value that it is called with."""

    def __call__(self, value: Tensor, hook: Hook) -> None:
        """Record a copy."""
        self.records.append(value.detach().clone())


@travels
class RecordGradient(Recorder):
    """Records, for every value that it is called with, a function of the value and its gradient.

    The gradient is that of the forward pass's result with respect to the value.

    Args:
        reduce: Takes a value and its gradient.

    Attributes:
        values: The values seen so far in the running pass; what the pass goes on with is what is held here.
    """

    def __init__(self, reduce: Callable[[Tensor, Tensor], Any]) -> None:
        super().__init__()
        self.reduce = reduce
        self.values: list[Tensor] = []

    def __call__(self, value: Tensor, hook: Hook) -> Tensor:
        """Hold the value until its gradient is known, and let it go on."""
        self.values.append(value.view_as(value))
        return self.values[-1]


@travels
class Patch:
    """Replaces a value by the only record of another hook, repeated along the batch."""

    def __init__(self, recorder: Recorder, repeats: int = 1) -> None:
        self.recorder, self.repeats = recorder, repeats

    def __call__(self, value: Tensor, hook: Hook) -> Tensor:
        """Return the record."""
        (record,) = self.recorder.records
        return record if self.repeats == 1 else record.repeat(self.repeats, *[1] * (record.dim() - 1))


@travels
class Zero:
    """Replaces a value by zeros: all of it, or the z of some heads.

    Args:
        heads: For `hook_z`, the heads to silence; None for the whole value.
    """

    def __init__(self, heads: Bool[Tensor, " head"] | None = None) -> None:
        self.heads = heads

    def __call__(self, value: Tensor, hook: Hook) -> Tensor:
        """Return the zeros."""
        if self.heads is None:
            return torch.zeros_like(value)
        return value.masked_fill(self.heads.to(value.device)[:, None], 0.0)


@travels
class SelectPositions:
    """Selects the positions of a batch at which the unembedding is applied."""

    def __init__(self, row: Int[Tensor, " place"], pos: Int[Tensor, " place"]) -> None:
        self.row, self.pos = row, pos

    def __call__(self, resid: Tensor, hook: Hook) -> Tensor:
        """Return their rows of the residual stream, [place, d_model]."""
        return resid[self.row.to(resid.device), self.pos.to(resid.device)]


@travels
def pass_through(value: Any, hook: Hook) -> None:
    """Leave a value as it is; at a `skip` hook the module's input then takes the place of its output."""
    return
