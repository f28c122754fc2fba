"""A model larger than memory: everything that is to be run passes through a block before the next one is read.

A run reads each weight once, however many passes it has, and holds one block. The residual streams of the passes wait
between blocks; those that a limit of memory has no room for wait on disk. For gradients the blocks are gone through a
second time, backwards, and each is run again from the residual stream that came to it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import nnsight
import torch
from torch import Tensor, nn

from tracing.residuals import Residuals
from tracing.room import Room
from tracing.shell import At, Call, Shell, stops_after
from tracing.visits import Differentiable, Hook, Keeper, call_hook, differentiate, look_into, visit

if TYPE_CHECKING:
    from tracing.blocks import Blocks
    from tracing.families import Family
    from tracing.model import Model
    from tracing.sizes import Sizes
    from tracing.visits import Pass, Stop


class Streaming:
    """Where a model runs whose blocks are read from disk.

    Args:
        blocks: The blocks.
        family: Where they are.
        sizes: How large the model is.
        memory: Bytes that this process may hold, with all that it holds already.

    Raises:
        InputError: The memory is too little for two blocks and a few tokens.
    """

    def __init__(self, blocks: Blocks, family: Family, sizes: Sizes, memory: int) -> None:
        self.blocks, self.sizes = blocks, sizes
        self._shell = Shell(blocks.hf, family.layers)
        self._seen: dict[int, At] = {}
        self.room = Room(memory, blocks, sizes)
        blocks.fill_the_rest()

    @property
    def fingerprint(self) -> str:
        """The digest of the weights, as of a model in memory."""
        return self.blocks.fingerprint()

    def play(self, model: Model, passes: Sequence[Pass], progress: Callable[[float], Any] | None = None) -> list[Any]:
        """Run passes side by side, and return the result of each.

        Args:
            model: The model.
            passes: The passes; hooks of later ones may use what hooks of earlier ones kept in the same layer or before.
            progress: Told the share of layers that is done.

        Raises:
            InputError: A pass does not fit into memory.
        """
        for one in passes:
            self.room.check(one)
        runs = [_Run(number, one, self.sizes.n_layers) for number, one in enumerate(passes)]
        backward = [run for run in runs if run.one.differentiable()]
        streams = Residuals(self.room.waiting())
        wanted = [layer for layer in range(self.sizes.n_layers) if any(run.passes(layer) for run in runs)]
        following, preceding = dict(pairwise(wanted)), dict(pairwise(wanted[::-1]))
        steps = _Steps(len(wanted) * (2 if backward else 1), progress)
        with torch.no_grad():
            for run in runs:
                if run.first == 0:
                    streams[run.number, 0] = self._shell.enter(model, run.one)
            for layer in wanted:
                at = self._at(model, layer, following.get(layer))
                for run in runs:
                    if run.passes(layer):
                        self._forward(model, at, run, layer, streams)
                _forget(runs, layer)
                steps.done()
        results = [self._end(model, run, streams) for run in runs]
        for layer in reversed(wanted if backward else []):
            at = self._at(model, layer, preceding.get(layer))
            for run in backward:
                self._backward(model, at, run, layer, streams)
            steps.done()
        for run in backward:
            for hook in run.one.differentiable():
                hook.kept.reverse()
        return results

    def _at(self, model: Model, layer: int, then: int | None) -> At:
        """A block with its weights, for hooks."""
        block = self.blocks.hold(layer, then)
        if layer not in self._seen:
            wrapped = nnsight.NNsight(_Alone(block))
            below = f"{self.blocks.layers}.{layer}"
            self._seen[layer] = At(model, wrapped.block, below)
        return self._seen[layer]

    def _forward(self, model: Model, at: At, run: _Run, layer: int, streams: Residuals) -> None:
        begins = layer == run.first and layer > 0
        hidden = _given(model, run, self._shell.enter(model, run.one)) if begins else streams[run.number, layer]
        kept = Differentiable if run.one.differentiable() else ()
        if run.one.differentiable() and layer == run.first:
            streams[run.number, layer] = hidden
        stops = _without(run.at(layer), kept)
        came = _through(at, hidden, self._call(model, run, layer), stops, run.only_hooks(layer))
        if not kept:
            streams.drop((run.number, layer))
        if came is not None:
            streams[run.number, layer + 1] = came

    def _end(self, model: Model, run: _Run, streams: Residuals) -> Any:
        """What a pass results in; for a pass that is differentiated, the gradient to begin with is noted."""
        one = run.one
        if one.only_hooks and not stops_after(one):
            return None
        last = self.sizes.n_layers
        begins = run.first == last
        hidden = _given(model, run, self._shell.enter(model, one)) if begins else streams[run.number, last]
        asking = one.differentiable()
        with torch.set_grad_enabled(bool(asking)):
            leaf = hidden.detach().requires_grad_(bool(asking))
            logits = self._shell.leave(model, one, leaf)
            result = logits if one.finish is None else one.finish(logits, Hook("", model))
            if asking:
                (run.gradient,) = differentiate([result], asking, [leaf])
                result = result.detach()
        streams.drop((run.number, last))
        return result

    def _backward(self, model: Model, at: At, run: _Run, layer: int, streams: Residuals) -> None:
        leaf = streams[run.number, layer].detach().requires_grad_()
        # What others keep was kept on the way forward.
        stops = _without(run.at(layer), Keeper, but=Differentiable)
        with torch.enable_grad():
            came = _through(at, leaf, self._call(model, run, layer), stops)
        (run.gradient,) = differentiate([came], run.one.differentiable(), [leaf], [run.gradient])
        streams.drop((run.number, layer))

    def _call(self, model: Model, run: _Run, layer: int) -> Call:
        with torch.no_grad():
            return self._shell.calls(model, run.one)[layer]


class _Run:
    """A pass on its way through the layers.

    Attributes:
        number: Which one it is.
        one: The pass.
        first: The layer it begins with: those before are skipped.
        last: The layer after which it ends.
        gradient: On the way back, that of its result with respect to what the last layer run returned or got.
    """

    def __init__(self, number: int, one: Pass, n_layers: int) -> None:
        self.number, self.one = number, one
        self._stops: dict[int, list[Stop]] = {}
        for stop in one.stops:
            if (layer := _layer_of(stop)) is not None:
                self._stops.setdefault(layer, []).append(stop)
        self.first = 0
        while self.first in self._stops and self._skip(self.first) is not None:
            self.first += 1
        ends = one.only_hooks and not stops_after(one)
        self.last = max(self._stops, default=-1) if ends else n_layers - 1
        self.gradient: Any = None

    def passes(self, layer: int) -> bool:
        """Whether it runs through a layer."""
        return self.first <= layer <= self.last

    def at(self, layer: int) -> list[Stop]:
        """Its stops in a layer."""
        return self._stops.get(layer, [])

    def only_hooks(self, layer: int) -> bool:
        """Whether it ends in this layer, after the last hook."""
        return self.one.only_hooks and layer == self.last

    def given(self) -> Stop | None:
        """The stop that gives the residual stream that it begins with."""
        return self._skip(self.first - 1)

    def _skip(self, layer: int) -> Stop | None:
        return next((stop for stop in self.at(layer) if stop[1] == "skip" and _is_block(stop)), None)


class _Alone(nn.Module):
    """A block that is a module of something, as nnsight needs it to be."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, *args: Any, **options: Any) -> Any:
        return self.block(*args, **options)


class _Steps:
    """Tells a share of steps."""

    def __init__(self, total: int, progress: Callable[[float], Any] | None) -> None:
        self.total, self.progress, self.count = total, progress, 0

    def done(self) -> None:
        self.count += 1
        if self.progress is not None:
            self.progress(self.count / self.total)


def _through(at: At, hidden: Tensor, call: Call, stops: Sequence[Stop], only_hooks: bool = False) -> Any:
    """Run a block; what it returns, or None where only its hooks are wanted."""
    block, came = at.wrapped, None
    look_into(at, stops)
    if not stops:
        return block._module(hidden, *call.args, **call.options)
    with block.trace(hidden, *call.args, **call.options) as tracer:
        for stop in stops:
            visit(at, stop, len(hidden))
        if only_hooks:
            tracer.stop()
        else:
            came = block.output.save()
    return came


def _given(model: Model, run: _Run, entered: Tensor) -> Tensor:
    """The residual stream that a pass begins with whose first layers are skipped."""
    stop = run.given()
    if stop is None:
        return entered
    name, _, _, function = stop[2][-1]
    instead = call_hook(model, name, function, entered)
    return entered if instead is None else instead


def _forget(runs: Sequence[_Run], layer: int) -> None:
    """What was kept in a layer for other passes alone has served."""
    for run in runs:
        for hook in _functions(run.at(layer)):
            if isinstance(hook, Keeper) and not hook.returns:
                hook.kept.clear()


def _without(stops: Sequence[Stop], kind: Any, but: Any = ()) -> list[Stop]:
    """Stops without the hooks of a kind."""
    left: list[Stop] = []
    for module, port, hooks in stops:
        some = [hook for hook in hooks if not isinstance(hook[3], kind) or isinstance(hook[3], but)]
        if some:
            left.append((module, port, some))
    return left


def _functions(stops: Sequence[Stop]) -> list[Any]:
    return [function for _, _, hooks in stops for _, _, _, function in hooks]


def _layer_of(stop: Stop) -> int | None:
    name = stop[2][0][0]
    return int(name.split(".")[1]) if name.startswith("blocks.") else None


def _is_block(stop: Stop) -> bool:
    return stop[2][0][0].endswith(".skip")
