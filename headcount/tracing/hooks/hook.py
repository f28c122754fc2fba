"""Hook functions of the toolkit: they record a value, or replace it.

A hook function is called with a value of the forward pass and a `Hook` that names the place. It returns None to leave
the value, or a tensor of its shape to put in its place, as in TransformerLens.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from headcount.remote_code import runs_remotely
from headcount.results import InputError

if TYPE_CHECKING:
    from jaxtyping import Bool, Int

HookFunction = Callable[..., Any]
"""`fn(value, hook)` returns None to leave the value, or a tensor of its shape to put in its place."""


@runs_remotely
class Hook:
    """The place at which a hook function is called.

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


@runs_remotely
class Recorder:
    """Base of hooks that record something: `records` is filled after the run, on every executor.

    Attributes:
        records: Tensors, or lists and dicts of them.
        returns: False if only other hooks of the same run read the records; a server then does not send them back.
    """

    def __init__(self, *, returns: bool = True) -> None:
        self.records: list[Any] = []
        self.returns = returns


@runs_remotely
class RecordValue(Recorder):
    """Records a copy of every value that it is called with."""

    def __call__(self, value: Tensor, hook: Hook) -> None:
        """Record a copy."""
        self.records.append(value.detach().clone())


@runs_remotely
class RecordGradient(Recorder):
    """Records a function of every value that it is called with, and of the gradient with respect to that value.

    The gradient is that of the forward pass's result.

    Args:
        reduce: Takes a value and its gradient, and returns the record.

    Attributes:
        values: Views of the values so far in the running pass, with which the pass goes on.
    """

    def __init__(self, reduce: Callable[[Tensor, Tensor], Any]) -> None:
        super().__init__()
        self.reduce = reduce
        self.values: list[Tensor] = []

    def __call__(self, value: Tensor, hook: Hook) -> Tensor:
        """Hold a view of the value until its gradient is known, and return it."""
        self.values.append(value.view_as(value))
        return self.values[-1]


@runs_remotely
class Patch:
    """Replaces a value by the one record of another hook, repeated along the batch.

    Args:
        recorder: The other hook.
        repeats: The number of repeats.
    """

    def __init__(self, recorder: Recorder, repeats: int = 1) -> None:
        self.recorder, self.repeats = recorder, repeats

    def __call__(self, value: Tensor, hook: Hook) -> Tensor:
        """Return the record."""
        (record,) = self.recorder.records
        return record if self.repeats == 1 else record.repeat(self.repeats, *[1] * (record.dim() - 1))


@runs_remotely
class Zero:
    """Replaces a value by zeros: all of it, the z of some heads, or the weights of some experts.

    Args:
        parts: For `hook_z` and `hook_router`, True for the heads or experts to set to zero; None for the whole value.
    """

    def __init__(self, parts: Bool[Tensor, " part"] | None = None) -> None:
        self.parts = parts

    def __call__(self, value: Tensor, hook: Hook) -> Tensor:
        """Return the zeros."""
        if self.parts is None:
            return torch.zeros_like(value)
        parts = self.parts.to(value.device)
        return value.masked_fill(parts[:, None] if value.dim() == 4 else parts, 0.0)


@runs_remotely
class Put:
    """Replaces a value at every position by one that is the same for all.

    Args:
        mean: The value: [head, d_head] for `hook_z`, [d_model] for a network's output. It may have more columns.
        parts: For `hook_z`, True for the heads to replace; None for the whole value.
    """

    def __init__(self, mean: Tensor, parts: Bool[Tensor, " head"] | None = None) -> None:
        self.mean, self.parts = mean, parts

    def __call__(self, value: Tensor, hook: Hook) -> Tensor:
        """Return the value with the mean in its place."""
        mean = self.mean[..., : value.shape[-1]].to(value.device, value.dtype)
        if self.parts is None:
            return mean.expand_as(value).clone()
        return torch.where(self.parts.to(value.device)[:, None], mean, value)


@runs_remotely
class RecordParts(Recorder):
    """Records the z of some heads, or a whole value, for another pass of the same run.

    Args:
        parts: True for the heads; None for the whole value.
    """

    def __init__(self, parts: Bool[Tensor, " head"] | None = None) -> None:
        super().__init__(returns=False)
        self.parts = parts

    def __call__(self, value: Tensor, hook: Hook) -> None:
        """Record a copy."""
        value = value.detach()
        self.records.append(value.clone() if self.parts is None else value[:, :, self.parts.to(value.device)])


@runs_remotely
class PutRecord:
    """Replaces the z of some heads, or a whole value, by what was recorded of it in an earlier pass.

    Args:
        recorder: The hook of that pass.
        parts: True for the heads; None for the whole value.
    """

    def __init__(self, recorder: RecordParts, parts: Bool[Tensor, " head"] | None = None) -> None:
        self.recorder, self.parts = recorder, parts

    def __call__(self, value: Tensor, hook: Hook) -> Tensor:
        """Return the value with the record in its place."""
        (record,) = self.recorder.records
        if self.parts is None:
            return record
        return value.index_copy(2, self.parts.to(value.device).nonzero().flatten(), record)


@runs_remotely
class SelectPositions:
    """Selects the positions of a batch at which the unembedding is applied.

    Args:
        row: The sequence of each position.
        pos: Its index in the sequence.
    """

    def __init__(self, row: Int[Tensor, " place"], pos: Int[Tensor, " place"]) -> None:
        self.row, self.pos = row, pos

    def __call__(self, resid: Tensor, hook: Hook) -> Tensor:
        """Return the residual stream at the positions, [place, d_model]."""
        return resid[self.row.to(resid.device), self.pos.to(resid.device)]


@runs_remotely
def pass_through(value: Any, hook: Hook) -> None:
    """Leave a value as it is; at a `skip` hook the module's input then takes the place of its output."""
    return
