"""A model larger than memory: all passes of a run go through a block before the next block is read.

A run reads each weight once, for any number of passes, and holds one block. Between blocks, the residual streams of the
passes are stored: in memory as far as the budget allows, then on disk. For gradients, the blocks are read a second
time, in reverse order, and each is run again from the residual stream before it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import nnsight
import torch
from torch import Tensor, nn

from headcount.tracing.hooks.hook import Hook, Recorder, RecordGradient
from headcount.tracing.hooks.passes import Stop
from headcount.tracing.hooks.ports import call_hook, call_hooks_at, catch_attention, prepare_sources
from headcount.tracing.hooks.run import differentiate
from headcount.tracing.streaming.memory import MemoryBudget
from headcount.tracing.streaming.outer import BlockCall, OuterModel, PartialModel, stops_after_blocks
from headcount.tracing.streaming.residuals import Residuals

if TYPE_CHECKING:
    from headcount.tracing.architectures.families import Family
    from headcount.tracing.architectures.sizes import Sizes
    from headcount.tracing.hooks.passes import ForwardPass
    from headcount.tracing.hooks.protocol import TracedModel
    from headcount.tracing.streaming.blocks import Blocks


class StreamingRunner:
    """Runs forward passes of a model whose blocks are read from disk.

    Args:
        blocks: The blocks.
        family: The paths of the model's modules.
        sizes: The sizes of the model.
        memory: The number of bytes that this process may hold, including what it holds already.

    Raises:
        InputError: The memory is too little for two blocks and a few tokens.
    """

    def __init__(self, blocks: Blocks, family: Family, sizes: Sizes, memory: int) -> None:
        self.blocks, self.sizes = blocks, sizes
        self._outer = OuterModel(blocks.hf, family)
        self._partial: dict[int, PartialModel] = {}
        self.budget = MemoryBudget(memory, blocks, sizes)
        blocks.load_outer_weights()

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the weights, the same as of the model in memory."""
        return self.blocks.fingerprint()

    @property
    def stored_bytes(self) -> int:
        """The size of the model's tensors on disk."""
        return self.blocks.checkpoint.bytes

    def fits(self, rows: int, length: int) -> bool:
        """Return True if `rows` sequences of `length` tokens may pass through a block at once."""
        return self.budget.fits(rows, length)

    def block(self, layer: int) -> nn.Module:
        """Return a block with its weights; the block before loses its own."""
        return self.blocks.hold(layer)

    def run(
        self, model: TracedModel, passes: Sequence[ForwardPass], progress: Callable[[float], Any] | None = None
    ) -> list[Any]:
        """Run passes side by side, and return the result of each.

        Args:
            model: The model.
            passes: The passes; hooks of later ones may read records of earlier ones from the same layer or before.
            progress: Called with the share of layers that is done.

        Raises:
            InputError: A pass does not fit into memory.
        """
        for forward in passes:
            self.budget.check(forward)
        runs = [_LayeredPass(number, forward, self.sizes.n_layers) for number, forward in enumerate(passes)]
        gradients = any(forward.gradient_recorders() for forward in passes)
        backward = [run for run in runs if gradients and run.goes_back()]
        for run in backward:
            run.again = True
        streams = Residuals(self.budget.waiting())
        layers = [layer for layer in range(self.sizes.n_layers) if any(run.passes(layer) for run in runs)]
        steps = _Steps(len(layers) * (2 if backward else 1), progress)
        self._run_forward(model, runs, layers, streams, steps)
        results = [self._end(model, run, streams) for run in runs]
        self._run_backward(model, backward, layers, streams, steps)
        return results

    def _run_forward(
        self,
        model: TracedModel,
        runs: Sequence[_LayeredPass],
        layers: Sequence[int],
        streams: Residuals,
        steps: _Steps,
    ) -> None:
        following = dict(pairwise(layers))
        with torch.no_grad():
            for run in runs:
                if run.first == 0:
                    streams[run.number, 0] = self._outer.enter(model, run.forward)
            for layer in layers:
                block = self._with_weights(model, layer, following.get(layer))
                for run in runs:
                    if run.passes(layer):
                        self._forward_through(model, block, run, layer, streams)
                _clear_shared_records(runs, layer)
                steps.done()

    def _run_backward(
        self,
        model: TracedModel,
        runs: Sequence[_LayeredPass],
        layers: Sequence[int],
        streams: Residuals,
        steps: _Steps,
    ) -> None:
        preceding = dict(pairwise(layers[::-1]))
        for layer in reversed(layers if runs else []):
            block = self._with_weights(model, layer, preceding.get(layer))
            for run in [run for run in runs if run.passes(layer)]:
                if run.forward.gradient_recorders():
                    self._backward_through(model, block, run, layer, streams)
                else:
                    self._record_again(model, block, run, layer, streams)
            _clear_shared_records(runs, layer)
            steps.done()
        for run in runs:
            for recorder in run.forward.gradient_recorders():
                recorder.records.reverse()

    def _with_weights(self, model: TracedModel, layer: int, next_layer: int | None) -> PartialModel:
        """Return the model with one block to run, whose weights are in memory."""
        block = self.blocks.hold(layer, next_layer)
        if layer not in self._partial:
            wrapped = nnsight.NNsight(_Alone(block))
            self._partial[layer] = PartialModel(model, wrapped.block, f"{self.blocks.layers}.{layer}")
        return self._partial[layer]

    def _forward_through(
        self, model: TracedModel, block: PartialModel, run: _LayeredPass, layer: int, streams: Residuals
    ) -> None:
        begins = layer == run.first and layer > 0
        entered = self._outer.enter(model, run.forward) if begins else None
        hidden = streams[run.number, layer] if entered is None else _first_stream(model, run, entered)
        if run.again and layer == run.first:
            streams[run.number, layer] = hidden
        stops = _without(run.at(layer), _takes_gradient)
        output = _through(block, hidden, self._call(model, run, layer), stops, run.only_hooks(layer))
        if not run.again:
            streams.drop((run.number, layer))
        if output is not None:
            streams[run.number, layer + 1] = output

    def _end(self, model: TracedModel, run: _LayeredPass, streams: Residuals) -> Any:
        """Return the result of a pass; for gradients, record that with respect to the last residual stream."""
        forward = run.forward
        if forward.only_hooks and not stops_after_blocks(forward):
            return None
        last = self.sizes.n_layers
        begins = run.first == last
        entered = self._outer.enter(model, forward) if begins else None
        hidden = streams[run.number, last] if entered is None else _first_stream(model, run, entered)
        recorders = forward.gradient_recorders()
        with torch.set_grad_enabled(bool(recorders)):
            leaf = hidden.detach().requires_grad_(bool(recorders))
            logits = self._outer.leave(model, forward, leaf)
            result = logits if forward.finish is None else forward.finish(logits, Hook("", model))
            if recorders:
                (run.gradient,) = differentiate([result], recorders, [leaf])
                result = result.detach()
        streams.drop((run.number, last))
        return result

    def _backward_through(
        self, model: TracedModel, block: PartialModel, run: _LayeredPass, layer: int, streams: Residuals
    ) -> None:
        leaf = streams[run.number, layer].detach().requires_grad_()
        # The other recorders recorded on the way forward.
        stops = _without(
            run.at(layer), lambda function: isinstance(function, Recorder) and not _takes_gradient(function)
        )
        with torch.enable_grad():
            output = _through(block, leaf, self._call(model, run, layer), stops)
        (run.gradient,) = differentiate([output], run.forward.gradient_recorders(), [leaf], [run.gradient])
        streams.drop((run.number, layer))

    def _record_again(
        self, model: TracedModel, block: PartialModel, run: _LayeredPass, layer: int, streams: Residuals
    ) -> None:
        """Record in a layer what hooks of other passes read as they run through it again."""
        stops = _without(run.at(layer), _comes_back)
        with torch.no_grad():
            _through(block, streams[run.number, layer], self._call(model, run, layer), stops)
        streams.drop((run.number, layer))

    def _call(self, model: TracedModel, run: _LayeredPass, layer: int) -> BlockCall:
        with torch.no_grad():
            return self._outer.calls(model, run.forward)[layer]


class _LayeredPass:
    """A pass that is run layer by layer.

    Attributes:
        number: Its number among the passes of the run.
        forward: The pass.
        first: The layer it begins with: those before are skipped.
        last: The layer after which it ends.
        again: True if it runs through the layers again on the way back.
        gradient: On the way back, the gradient of its result with respect to the output of the next layer to run.
    """

    def __init__(self, number: int, forward: ForwardPass, n_layers: int) -> None:
        self.number, self.forward = number, forward
        self._stops: dict[int, list[Stop]] = {}
        for stop in forward.stops:
            if (layer := stop.layer()) is not None:
                self._stops.setdefault(layer, []).append(stop)
        self.first = 0
        while self.first in self._stops and self._skip(self.first) is not None:
            self.first += 1
        ends = forward.only_hooks and not stops_after_blocks(forward)
        self.last = max(self._stops, default=-1) if ends else n_layers - 1
        self.gradient: Any = None
        self.again = False

    def goes_back(self) -> bool:
        """Return True if it takes gradients, or records what other passes read."""
        return any(_takes_gradient(function) or _is_shared(function) for function in self.forward.functions())

    def passes(self, layer: int) -> bool:
        """Return True if the pass runs through a layer."""
        return self.first <= layer <= self.last

    def at(self, layer: int) -> list[Stop]:
        """Return its stops in a layer."""
        return self._stops.get(layer, [])

    def only_hooks(self, layer: int) -> bool:
        """Return True if the pass ends in this layer, after the last hook."""
        return self.forward.only_hooks and layer == self.last

    def last_skip(self) -> Stop | None:
        """Return the stop whose hook gives the residual stream that the pass begins with."""
        return self._skip(self.first - 1)

    def _skip(self, layer: int) -> Stop | None:
        return next((stop for stop in self.at(layer) if stop.skips_block()), None)


class _Alone(nn.Module):
    """A block as the child of a module, which nnsight needs."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, *args: Any, **options: Any) -> Any:
        return self.block(*args, **options)


class _Steps:
    """Reports the share of steps that are done."""

    def __init__(self, total: int, progress: Callable[[float], Any] | None) -> None:
        self.total, self.progress, self.count = total, progress, 0

    def done(self) -> None:
        self.count += 1
        if self.progress is not None:
            self.progress(self.count / self.total)


def _through(
    block: PartialModel, hidden: Tensor, call: BlockCall, stops: Sequence[Stop], only_hooks: bool = False
) -> Any:
    """Run a block; return its output, or None if the pass ends after its hooks."""
    prepare_sources(block, stops)
    if not stops:
        return _first(block.wrapped._module(hidden, *call.args, **call.options))
    with catch_attention(block, stops, len(hidden)):
        return _first(_traced(block, hidden, call, stops, only_hooks))


def _traced(block: PartialModel, hidden: Tensor, call: BlockCall, stops: Sequence[Stop], only_hooks: bool) -> Any:
    envoy, output = block.wrapped, None
    with envoy.trace(hidden, *call.args, **call.options) as tracer:
        for stop in stops:
            call_hooks_at(block, stop, len(hidden))
        if only_hooks:
            tracer.stop()
        else:
            output = envoy.output.save()
    return output


def _first(output: Any) -> Any:
    """Return the residual stream that a block gives, perhaps as the first element of a tuple."""
    return output[0] if isinstance(output, tuple | list) else output


def _first_stream(model: TracedModel, run: _LayeredPass, entered: Tensor) -> Tensor:
    """Return the residual stream that a pass begins with, given that before the first block."""
    stop = run.last_skip()
    if stop is None:
        return entered
    hook = stop.hooks[-1]
    replacement = call_hook(model, hook.name, hook.function, entered)
    return entered if replacement is None else replacement


def _clear_shared_records(runs: Sequence[_LayeredPass], layer: int) -> None:
    """Drop records of a layer that only other passes read: all passes have been through it."""
    for run in runs:
        for stop in run.at(layer):
            for hook in stop.hooks:
                if isinstance(hook.function, Recorder) and _is_shared(hook.function):
                    hook.function.records.clear()


def _takes_gradient(function: Any) -> bool:
    return isinstance(function, RecordGradient)


def _is_shared(function: Any) -> bool:
    """Return True for a hook whose records only other passes read."""
    return isinstance(function, Recorder) and not function.returns


def _comes_back(function: Any) -> bool:
    """Return True for a hook whose records come back to the caller."""
    return isinstance(function, Recorder) and function.returns


def _without(stops: Sequence[Stop], left_out: Callable[[Any], bool]) -> list[Stop]:
    """Return stops without some hooks."""
    left: list[Stop] = []
    for stop in stops:
        hooks = [hook for hook in stop.hooks if not left_out(hook.function)]
        if hooks:
            left.append(Stop(stop.module, stop.port, hooks, stop.kept))
    return left
