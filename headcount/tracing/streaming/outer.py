"""A model without its blocks: the parts before and after them, and the arguments that each block is called with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import nnsight
from torch import Tensor, nn

from headcount.tracing.hooks.ports import call_hooks_at, find_envoy
from headcount.tracing.hooks.run import model_arguments

if TYPE_CHECKING:
    from headcount.tracing.architectures.families import Family
    from headcount.tracing.hooks.passes import ForwardPass, Stop
    from headcount.tracing.hooks.protocol import TracedModel

_BEFORE_BLOCKS = ("hook_embed", "hook_pos_embed")


class BlockCall:
    """Arguments that a block is called with, beside the residual stream."""

    def __init__(self, args: Sequence[Any], options: dict[str, Any]) -> None:
        self.args, self.options = args, options


class BlockStandIn(nn.Module):
    """Stands in for a block: records the call and returns the residual stream, or a replacement.

    Args:
        block: The block.
        elements: The number of elements of the tuple that it returns; 0 if it is no tuple.
    """

    def __init__(self, block: nn.Module, elements: int) -> None:
        super().__init__()
        self.elements = elements
        # A model may read properties of its blocks, such as their kind of attention.
        self.__dict__.update({key: value for key, value in vars(block).items() if isinstance(value, str | int)})
        self.hidden: Any = None
        self.call: Any = None
        self.replacement: Tensor | None = None

    def forward(self, hidden: Tensor, *args: Any, **options: Any) -> Any:
        """Return the residual stream, or the replacement, as a block does."""
        self.hidden, self.call = hidden, BlockCall(args, options)
        stream = hidden if self.replacement is None else self.replacement
        return (stream, *[None] * (self.elements - 1)) if self.elements else stream


class PartialModel:
    """A model for hooks of which some modules run; attributes are those of the whole model.

    Args:
        model: The whole model.
        wrapped: The nnsight model of the modules that run.
        below: Their path in the whole model.
    """

    def __init__(self, model: TracedModel, wrapped: Any, below: str = "") -> None:
        self._model, self.wrapped, self._below = model, wrapped, below

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def envoy(self, path: str) -> Any:
        """Return the nnsight envoy of a module."""
        return find_envoy(self.wrapped, path.removeprefix(self._below))


class OuterModel:
    """Runs the parts of a model before and after its blocks.

    Args:
        hf: The model; between two runs it has its blocks.
        family: The paths of its modules.
    """

    def __init__(self, hf: Any, family: Family) -> None:
        self.hf = hf
        path, _, self._attribute = family.layers.rpartition(".")
        self._parent = hf.get_submodule(path)
        self.stand_ins = [BlockStandIn(block, family.block_elements) for block in hf.get_submodule(family.layers)]
        self._list = nn.ModuleList(self.stand_ins)
        with self._in_place_of_blocks():
            self._wrapped = nnsight.NNsight(hf)

    def enter(self, model: TracedModel, forward: ForwardPass) -> Tensor:
        """Return the residual stream before the first block."""
        stops = [stop for stop in forward.stops if stop.first_name() in _BEFORE_BLOCKS]
        inputs = model_arguments(model, forward.inputs)
        with self._in_place_of_blocks():
            if stops:
                with self._wrapped.trace(**inputs, logits_to_keep=1):
                    for stop in stops:
                        call_hooks_at(PartialModel(model, self._wrapped), stop, len(forward.inputs["input_ids"]))
            else:
                self.hf.base_model(**inputs)
            hidden: Tensor = self.stand_ins[0].hidden.detach()
        return hidden

    def calls(self, model: TracedModel, forward: ForwardPass) -> list[BlockCall]:
        """Return each block's call; it is computed every time, since masks would take much memory."""
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
                    call_hooks_at(PartialModel(model, self._wrapped), stop, len(forward.inputs["input_ids"]))
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
    """Return the stops after the last block."""
    return [stop for stop in forward.stops if stop.layer() is None and stop.first_name() not in _BEFORE_BLOCKS]
