"""Passes through a model: hooks are put in execution order, and played where the model is."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Int
from torch import Tensor, nn

from results import InputError
from tracing.hook_map import Site
from tracing.visits import Hook, Pass, play

if TYPE_CHECKING:
    from tracing.model import Model
    from tracing.visits import Stop

HookFunction = Callable[..., Any]
"""`fn(value, hook)` returns None to leave the value, or a tensor of its shape to put in its place."""

Hooked = tuple[Site, HookFunction]
Finish = Callable[[Tensor, Hook], Any]


def make_pass(
    tokens: Int[Tensor, "batch pos"],
    hooks: Sequence[Hooked],
    finish: Finish | None = None,
    *,
    only_hooks: bool = False,
    inputs: Mapping[str, Tensor] = MappingProxyType({}),
) -> Pass:
    """A forward pass with these hooks; `inputs` are more of the model's own arguments."""
    # Without a cache transformers looks at the values of the positions, and on meta there are none.
    arguments = {"input_ids": tokens, "use_cache": tokens.is_meta, **inputs}
    return Pass(arguments, _stops(hooks), finish, only_hooks=only_hooks, gradients=torch.is_grad_enabled())


def run_all(model: "Model", passes: Sequence[Pass], progress: Callable[[float], Any] | None = None) -> list[Any]:
    """Play passes where the model is, and return each one's result.

    Later passes may use what hooks of earlier ones kept. On a server all of them are one request; streamed, they go
    through the model side by side, and `progress` is told how far they are, from 0 to 1.
    """
    if model.server is not None:
        return model.server.play(model, passes)
    with _turn(model):
        if model.stream is not None:
            return model.stream.play(model, passes, progress)
        return play(model, passes)


@contextmanager
def _turn(model: "Model") -> Iterator[None]:
    """One run at a time through the same modules: other threads wait for theirs.

    Raises:
        InputError: A hook, or the body of an nnsight trace, runs the model that it is a part of.
    """
    with _guard:
        turn = _turns.setdefault(model.hf, threading.RLock())
    with turn:
        if model.hf in _running or model.nnsight.interleaver.interleaving:
            raise InputError(
                f"{model.name} is running already, and a hook or an nnsight trace runs it again: run it before, and "
                "let the hook use what came out"
            )
        _running[model.hf] = True
        try:
            yield
        finally:
            del _running[model.hf]


_guard = threading.Lock()
_turns: WeakKeyDictionary[nn.Module, Any] = WeakKeyDictionary()
_running: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()


def _stops(hooks: Sequence[Hooked]) -> "list[Stop]":
    """Hooks in execution order, those that share a raw value together; equal ranks keep their order."""
    ordered = sorted(hooks, key=lambda hooked: hooked[0].rank)
    groups = groupby(ordered, key=lambda hooked: (hooked[0].module, hooked[0].port))
    return [
        (module, port, [(site.name, site.view, site.detail, function) for site, function in group])
        for (module, port), group in groups
    ]
