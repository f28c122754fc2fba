"""A forward pass of a transformers model, recorded: what went into and came out of every module."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

_TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4}
_HALF_TOLERANCE = 0.02


@dataclass
class ModuleCall:
    """One call of a module; tensors are copies, since models add in place.

    Attributes:
        name: The module's path.
        module: The module.
        args: Its arguments by position.
        kwargs: Its arguments by keyword.
        input: The first of these that is a tensor, if that holds real numbers; otherwise an empty tensor.
        output: The tensor that it returned, the first element of a tuple; an empty tensor if that is no tensor.
        elements: The number of elements of the tuple that it returned; 0 for no tuple.
        time: The place of its end in the order of all ends and attention calls.
    """

    name: str
    module: nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    input: Tensor
    output: Tensor
    elements: int
    time: int

    @property
    def has_matrix(self) -> bool:
        """True if the module is a projection: linear, GPT-2's `Conv1D`, or a quantised form of either."""
        return isinstance(self.module, nn.Linear) or type(self.module).__name__.endswith(("Conv1D", "Linear"))

    @property
    def is_light(self) -> bool:
        """True if it holds no more than a gain or a bias: a norm, a dropout, an activation function."""
        return all(
            weight.dim() < 2 or "norm" in type(self.module).__name__.lower() for weight in self.module.parameters()
        )


@dataclass
class AttentionRecord:
    """One call of transformers' attention interface, each tensor as [batch, head, pos, width].

    Attributes:
        module: The attention module.
        query: The queries, after norms and rotation.
        key: The keys.
        value: The values.
        output: The heads' outputs.
        time: The place in the order of all ends and attention calls.
    """

    module: nn.Module
    query: Tensor
    key: Tensor
    value: Tensor
    output: Tensor
    time: int


@dataclass
class Recording:
    """The calls of one forward pass, in order.

    Attributes:
        modules: Calls of modules, in the order in which they ended.
        attention: Calls of the attention interface.
    """

    modules: list[ModuleCall] = field(default_factory=list)
    attention: list[AttentionRecord] = field(default_factory=list)

    def now(self) -> int:
        """Return the number of calls so far."""
        return len(self.modules) + len(self.attention)


def record(hf: nn.Module, run: Callable[[], Any]) -> Recording:
    """Run something that calls modules of a model, and return what they did."""
    recording = Recording()
    names = {module: name for name, module in hf.named_modules()}

    def ended(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        given = next((value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)), None)
        given = _numbers(given)
        result = _numbers(output[0] if isinstance(output, tuple) and output else output)
        elements = len(output) if isinstance(output, tuple) else 0
        arguments = _copied(args), _copied(kwargs), given
        recording.modules.append(ModuleCall(names[module], module, *arguments, result, elements, recording.now()))

    with ExitStack() as stack, torch.no_grad():
        stack.enter_context(_attention_into(recording))
        for module in names:
            handle = module.register_forward_hook(ended, with_kwargs=True)
            stack.callback(handle.remove)
        run()
    return recording


@contextmanager
def zeroed(module: nn.Module) -> Iterator[None]:
    """Let a module return zeros."""
    handle = module.register_forward_hook(lambda module, args, output: torch.zeros_like(output))
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def _attention_into(recording: Recording) -> Iterator[None]:
    """Record calls of the attention interface; which function it gives does not change, as models look at its name."""
    from transformers import AttentionInterface

    original = AttentionInterface.get_interface

    def get_interface(interface: Any, *args: Any, **kwargs: Any) -> Callable[..., Any]:
        function = original(interface, *args, **kwargs)

        def recorded(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, *rest: Any, **options: Any) -> Any:
            result = function(module, query, key, value, *rest, **options)
            q, k, v, output = map(_numbers, (query, key, value, result[0].transpose(1, 2)))
            recording.attention.append(AttentionRecord(module, q, k, v, output, recording.now()))
            return result

        return recorded

    with patch.object(AttentionInterface, "get_interface", get_interface):
        yield


def _numbers(value: Any) -> Tensor:
    """Return a copy of a tensor of real numbers, and an empty tensor for anything else."""
    is_real = isinstance(value, Tensor) and value.is_floating_point()
    return value.detach().clone() if is_real else torch.empty(0)


def _copied(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, dict):
        return {name: _copied(inner) for name, inner in value.items()}
    return type(value)(_copied(inner) for inner in value) if type(value) in (tuple, list) else value


def same(left: Tensor, right: Tensor) -> bool:
    """Return True if two tensors hold the same numbers up to rounding, in the same order, and some."""
    if left.numel() != right.numel() or not left.numel():
        return False
    difference = left.flatten().double() - right.flatten().to(left.device).double()
    return bool(difference.abs().max() <= tolerance(left) * right.abs().max().clamp(min=1e-30))


def tolerance(value: Tensor) -> float:
    """Return the rounding error that sums of numbers of this format may have, relative to the largest."""
    return _TOLERANCE.get(value.dtype, _HALF_TOLERANCE)
