"""Forward passes planned, and handed to the executor that runs the model: in memory, streamed, or a server."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import groupby
from types import MappingProxyType
from typing import Any, Protocol
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Int
from torch import Tensor, nn

from headcount.results import InputError
from headcount.tracing.hooks.hook import Finish, HookFunction
from headcount.tracing.hooks.hook_map import HookPoint
from headcount.tracing.hooks.passes import BoundHook, ForwardPass, KeptInput, Stop
from headcount.tracing.hooks.protocol import RemoteExecutor, StreamingExecutor, TracedModel
from headcount.tracing.hooks.run import run_passes

PlacedHook = tuple[HookPoint, HookFunction]
"""A function, and the hook point at which it is called."""


class RunnableModel(TracedModel, Protocol):
    """A model, and the executor that runs it; without either of these it runs in memory.

    Attributes:
        server: The server that runs it, if one does.
        stream: The runner that reads its blocks from disk, if the weights are there.
        own_hooks: The number of torch's forward hooks on its modules when it was opened.
    """

    server: RemoteExecutor | None
    stream: StreamingExecutor | None
    own_hooks: int


def plan_pass(
    tokens: Int[Tensor, "batch pos"],
    hooks: Sequence[PlacedHook],
    finish: Finish | None = None,
    *,
    only_hooks: bool = False,
    inputs: Mapping[str, Tensor] = MappingProxyType({}),
) -> ForwardPass:
    """Return a forward pass with these hooks; `inputs` are further arguments of the model."""
    # Without a cache transformers looks at the values of the positions, and on meta there are none.
    arguments = {"input_ids": tokens, "use_cache": tokens.is_meta, **inputs}
    return ForwardPass(arguments, _stops(hooks), finish, only_hooks=only_hooks, gradients=torch.is_grad_enabled())


def execute(
    model: RunnableModel, passes: Sequence[ForwardPass], progress: Callable[[float], Any] | None = None
) -> list[Any]:
    """Run passes on the model's executor, and return each one's result.

    Hooks of later passes may read records of earlier ones. On a server all passes are one request; streamed, they go
    through the model side by side, and `progress` is called with the share that is done, from 0 to 1.
    """
    run = [each for forward in passes for each in (*forward.before, forward)]
    before = {id(each) for forward in passes for each in forward.before}
    results = zip(run, _execute(model, run, progress), strict=False)
    return [result for forward, result in results if id(forward) not in before]


def _execute(model: RunnableModel, passes: Sequence[ForwardPass], progress: Callable[[float], Any] | None) -> list[Any]:
    if model.server is not None:
        return model.server.run(model, passes)
    _check_state(model, passes)
    with _exclusive(model), _without_autocast():
        if model.stream is not None:
            return model.stream.run(model, passes, progress)
        return run_passes(model, passes)


def _check_state(model: RunnableModel, passes: Sequence[ForwardPass]) -> None:
    """Refuse passes that would give wrong numbers in the state that torch or the model's modules are in.

    Raises:
        InputError: Gradients are needed in `torch.inference_mode`, or a module got a hook after the model was opened.
    """
    if any(forward.gradient_recorders() for forward in passes) and (
        torch.is_inference_mode_enabled() or next(iter(model.hf.parameters())).is_inference()
    ):
        raise InputError(
            f"{model.name} cannot give gradients in torch.inference_mode: open it and measure outside of it, or use "
            "torch.no_grad(), which gradients switch off where they need to"
        )
    if (count := foreign_hooks(model.hf)) > model.own_hooks:
        hooked = [name or "the model itself" for name, module in model.hf.named_modules() if _hooks_of(module)]
        raise InputError(
            f"a module of {model.name} got a forward hook after the model was opened, perhaps {hooked[-1]}: the values "
            f"shown need not be those that flow ({count} hooks, {model.own_hooks} then). Remove it, open the model "
            "again with the hook in place, or use fwd_hooks="
        )


_WATCHING = ("transformers.", "nnsight.", "accelerate.")
"""Libraries whose own hooks record values or move them between devices."""


def foreign_hooks(hf: nn.Module) -> int:
    """Return the number of torch's forward hooks on all modules."""
    return sum(_hooks_of(module) for module in hf.modules())


def _hooks_of(module: nn.Module) -> int:
    if not module._forward_hooks and not module._forward_pre_hooks:
        return 0
    functions = (*module._forward_hooks.values(), *module._forward_pre_hooks.values())
    return sum(not str(getattr(function, "__module__", "")).startswith(_WATCHING) for function in functions)


@contextmanager
def _without_autocast() -> Iterator[None]:
    """Compute in the number format of the weights, which provenance records, whatever surrounds the call."""
    with ExitStack() as stack:
        for device in ("cpu", "cuda"):
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        yield


@contextmanager
def _exclusive(model: TracedModel) -> Iterator[None]:
    """Let one run at a time go through the same modules; other threads wait.

    Raises:
        InputError: A hook, or the body of an nnsight trace, runs the model that is running.
    """
    with _guard:
        lock = _locks.setdefault(model.hf, threading.RLock())
    with lock:
        if model.hf in _running or model.nnsight.interleaver.interleaving:
            raise InputError(
                f"{model.name} is running already, and a hook or an nnsight trace runs it again: run it before, and "
                "let the hook use the result"
            )
        _running[model.hf] = True
        try:
            yield
        finally:
            del _running[model.hf]


_guard = threading.Lock()
_locks: WeakKeyDictionary[nn.Module, Any] = WeakKeyDictionary()
_running: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()


def _stops(hooks: Sequence[PlacedHook]) -> list[Stop]:
    """Put hooks in execution order, those that share a raw value in one stop; equal ranks stay in order."""
    keeping = [(keep, function) for point, function in hooks for keep in point.keep]
    ordered = sorted([*keeping, *hooks], key=lambda placed: placed[0].rank)
    kept = {point.name: KeptInput() for point, _ in keeping}
    stops: list[Stop] = []
    for (module, port), group in groupby(ordered, key=lambda placed: (placed[0].module, placed[0].port)):
        bound = [BoundHook(point.name, point.view, point.detail, function) for point, function in group]
        stops.append(Stop(module, port, bound, kept.get(bound[0].name)))
    return stops
