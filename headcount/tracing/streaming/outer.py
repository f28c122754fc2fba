"""A model without its blocks: what comes before them and after them, and the arguments each of them is called with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import nnsight
from torch import Tensor, nn

from headcount.tracing.hooks.ports import find_envoy, visit
from headcount.tracing.hooks.run import model_arguments

if TYPE_CHECKING:
    from headcount.tracing.hooks.passes import ForwardPass, Stop
    from headcount.tracing.hooks.protocol import TracedModel

_BEFORE_BLOCKS = ("hook_embed", "hook_pos_embed")


class BlockCall:
    """The arguments that a block is called with, beside the residual stream."""

    def __init__(self, args: Sequence[Any], options: dict[str, Any]) -> None:
        self.args, self.options = args, options


class BlockStandIn(nn.Module):
    """Stands in for a block: notes the call and hands the residual stream on, or another one in its place."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        # A model may ask its blocks for what they are, such as their kind of attention.
        self.__dict__.update({key: value for key, value in vars(block).items() if isinstance(value, str | int)})
        self.hidden: Any = None
        self.call: Any = None
        self.replacement: Tensor | None = None

    def forward(self, hidden: Tensor, *args: Any, **options: Any) -> Tensor:
        """Hand it on."""
        self.hidden, self.call = hidden, BlockCall(args, options)
        return hidden if self.replacement is None else self.replacement


class PartialModel:
    """A model for hooks, of which only some modules can be visited; all else is looked up in the model itself.

    Args:
        model: The model.
        wrapped: The modules that can be visited, as nnsight sees them.
        below: The path of these in the model.
    """

    def __init__(self, model: TracedModel, wrapped: Any, below: str = "") -> None:
        self._model, self.wrapped, self._below = model, wrapped, below

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def envoy(self, path: str) -> Any:
        """Return the nnsight envoy of a module."""
        return find_envoy(self.wrapped, path.removeprefix(self._below))


class OuterModel:
    """Runs what a model does before and after its blocks.

    Args:
        hf: The model; between two runs it has its blocks.
        layers: The path of its blocks.
    """

    def __init__(self, hf: Any, layers: str) -> None:
        self.hf = hf
        path, _, self._attribute = layers.rpartition(".")
        self._parent = hf.get_submodule(path)
        self.stand_ins = [BlockStandIn(block) for block in hf.get_submodule(layers)]
        self._list = nn.ModuleList(self.stand_ins)
        with self._in_place_of_blocks():
            self._wrapped = nnsight.NNsight(hf)

    def enter(self, model: TracedModel, forward: ForwardPass) -> Tensor:
        """Return the residual stream that comes to the first block."""
        stops = [stop for stop in forward.stops if stop.first_name() in _BEFORE_BLOCKS]
        inputs = model_arguments(model, forward.inputs)
        with self._in_place_of_blocks():
            if stops:
                with self._wrapped.trace(**inputs, logits_to_keep=1):
                    for stop in stops:
                        visit(PartialModel(model, self._wrapped), stop, len(forward.inputs["input_ids"]))
            else:
                self.hf.base_model(**inputs)
            hidden: Tensor = self.stand_ins[0].hidden.detach()
        return hidden

    def calls(self, model: TracedModel, forward: ForwardPass) -> list[BlockCall]:
        """Return each block's call; made anew each time, since masks are larger than what they are made of."""
        with self._in_place_of_blocks():
            self.hf.base_model(**model_arguments(model, forward.inputs))
            return [block.call for block in self.stand_ins]

    def leave(self, model: TracedModel, forward: ForwardPass, hidden: Tensor) -> Tensor:
        """Return the logits, from the output of the last block."""
        stops = stops_after_blocks(forward)
        inputs = model_arguments(model, forward.inputs)
        with self._in_place_of_blocks():
            self.stand_ins[-1].replacement = hidden
            if not stops:
                logits: Tensor = self.hf(**inputs).logits
                return logits
            with self._wrapped.trace(**inputs):
                for stop in stops:
                    visit(PartialModel(model, self._wrapped), stop, len(forward.inputs["input_ids"]))
                traced: Tensor = self._wrapped.output.logits.save()
            return traced

    @contextmanager
    def _in_place_of_blocks(self) -> Iterator[None]:
        """Put the stand-ins in place of the blocks."""
        blocks = getattr(self._parent, self._attribute)
        setattr(self._parent, self._attribute, self._list)
        try:
            yield
        finally:
            setattr(self._parent, self._attribute, blocks)
            for block in self.stand_ins:
                block.hidden = block.call = block.replacement = None


def stops_after_blocks(forward: ForwardPass) -> list[Stop]:
    """Return the stops behind the last block."""
    return [stop for stop in forward.stops if stop.layer() is None and stop.first_name() not in _BEFORE_BLOCKS]
