"""A model without its blocks: what comes before them and after them, and what each of them is called with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import nnsight
from torch import Tensor, nn

from tracing.visits import arguments, visit

if TYPE_CHECKING:
    from tracing.visits import Pass, Stop

_BEFORE = ("hook_embed", "hook_pos_embed")


class Call:
    """What a block is called with, beside the residual stream."""

    def __init__(self, args: Sequence[Any], options: dict[str, Any]) -> None:
        self.args, self.options = args, options


class Seat(nn.Module):
    """Takes a block's seat: notes the call and hands the residual stream on, or another one in its place."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        # A model may ask its blocks for what they are, such as their kind of attention.
        self.__dict__.update({key: value for key, value in vars(block).items() if isinstance(value, str | int)})
        self.came: Any = None
        self.call: Any = None
        self.instead: Tensor | None = None

    def forward(self, hidden: Tensor, *args: Any, **options: Any) -> Tensor:
        """Hand it on."""
        self.came, self.call = hidden, Call(args, options)
        return hidden if self.instead is None else self.instead


class At:
    """A model for hooks, in which only some modules can be visited; everything else is asked of the model itself.

    Args:
        model: The model.
        wrapped: The modules that can be visited, as nnsight sees them.
        below: The path of these in the model.
    """

    def __init__(self, model: Any, wrapped: Any, below: str = "") -> None:
        self._model, self.wrapped, self._below = model, wrapped, below

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def envoy(self, path: str) -> Any:
        """The nnsight envoy of a module."""
        envoy = self.wrapped
        for part in filter(None, path.removeprefix(self._below).split(".")):
            envoy = envoy[int(part)] if part.isdigit() else getattr(envoy, part)
        return envoy


class Shell:
    """Runs what a model does before and after its blocks.

    Args:
        hf: The model; between two runs it has its blocks.
        layers: The path of its blocks.
    """

    def __init__(self, hf: Any, layers: str) -> None:
        self.hf = hf
        path, _, self._own = layers.rpartition(".")
        self._parent = hf.get_submodule(path)
        self.seats = [Seat(block) for block in hf.get_submodule(layers)]
        self._seats = nn.ModuleList(self.seats)
        with self._seated():
            self._wrapped = nnsight.NNsight(hf)

    def enter(self, model: Any, one: Pass) -> Tensor:
        """The residual stream that comes to the first block."""
        stops = [stop for stop in one.stops if stop[2][0][0] in _BEFORE]
        with self._seated():
            if stops:
                with self._wrapped.trace(**arguments(model, one.inputs), logits_to_keep=1):
                    for stop in stops:
                        visit(At(model, self._wrapped), stop, len(one.inputs["input_ids"]))
            else:
                self.hf.base_model(**arguments(model, one.inputs))
            entered: Tensor = self.seats[0].came.detach()
        return entered

    def calls(self, model: Any, one: Pass) -> list[Call]:
        """What each block is called with; made anew each time, since masks are larger than what they are made of."""
        with self._seated():
            self.hf.base_model(**arguments(model, one.inputs))
            return [seat.call for seat in self.seats]

    def leave(self, model: Any, one: Pass, hidden: Tensor) -> Tensor:
        """The logits, from what the last block returns."""
        stops = stops_after(one)
        with self._seated():
            self.seats[-1].instead = hidden
            if not stops:
                logits: Tensor = self.hf(**arguments(model, one.inputs)).logits
                return logits
            with self._wrapped.trace(**arguments(model, one.inputs)):
                for stop in stops:
                    visit(At(model, self._wrapped), stop, len(one.inputs["input_ids"]))
                traced: Tensor = self._wrapped.output.logits.save()
            return traced

    @contextmanager
    def _seated(self) -> Iterator[None]:
        """Seats in place of the blocks."""
        blocks = getattr(self._parent, self._own)
        setattr(self._parent, self._own, self._seats)
        try:
            yield
        finally:
            setattr(self._parent, self._own, blocks)
            for seat in self.seats:
                seat.came = seat.call = seat.instead = None


def stops_after(one: Pass) -> list[Stop]:
    """The stops behind the last block."""
    return [stop for stop in one.stops if not stop[2][0][0].startswith("blocks.") and stop[2][0][0] not in _BEFORE]
