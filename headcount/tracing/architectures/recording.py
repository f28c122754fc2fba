"""A forward pass of a transformers model, recorded: what went into and came out of every module."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

from headcount.tracing.architectures.own_attention import CatchAttention, CaughtAttention

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
        output: The tensor that it returned, the first element of several; an empty tensor if that is no tensor.
        elements: The number of elements of the tuple or list that it returned; 0 for neither.
        time: The place of its end in the order of all ends and attention calls.
        given: The output itself, which others may have changed in place since.
    """

    name: str
    module: nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    input: Tensor
    output: Tensor
    elements: int
    time: int
    given: Any

    @property
    def was_changed(self) -> bool:
        """True if the output was changed in place after the module returned it."""
        return isinstance(self.given, Tensor) and self.output.numel() > 0 and not torch.equal(self.given, self.output)

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
    """One call of transformers' attention interface, or attention that a module computes itself.

    Attributes:
        module: The attention module. Tensors are [batch, head, pos, width].
        query: The queries, after norms and rotation.
        key: The keys.
        value: The values.
        output: The heads' outputs.
        time: The place in the order of all ends and attention calls.
        caught: Attention that the module computes itself; None for a call of the interface.
    """

    module: nn.Module
    query: Tensor
    key: Tensor
    value: Tensor
    output: Tensor
    time: int
    caught: CaughtAttention | None = None

    def of_groups(self, n_kv_heads: int) -> "AttentionRecord":
        """Return the record with keys and values once for each KV group, to which query heads may have copies."""
        copies = self.key.shape[1] // n_kv_heads
        return replace(self, key=self.key[:, ::copies], value=self.value[:, ::copies])


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


def record(hf: nn.Module, run: Callable[[], Any], *, own_attention: bool = False) -> Recording:
    """Run something that calls modules of a model, and return what they did.

    Args:
        hf: The model, or a module.
        run: Runs it on one sequence.
        own_attention: True to record attention that modules compute themselves, in place of calls of the interface.
    """
    recording = Recording()
    names = {module: name for name, module in hf.named_modules()}

    def ended(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        given = next((value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)), None)
        given = _numbers(given)
        several = isinstance(output, tuple | list) and len(output) > 0
        given_back = output[0] if several else output
        result, elements = _numbers(given_back), len(output) if several else 0
        arguments = _copied(args), _copied(kwargs), given
        call = ModuleCall(names[module], module, *arguments, result, elements, recording.now(), given_back)
        recording.modules.append(call)

    with ExitStack() as stack, torch.no_grad():
        stack.enter_context(_own_attention_into(recording, hf) if own_attention else _attention_into(recording))
        for module in names:
            handle = module.register_forward_hook(ended, with_kwargs=True)
            stack.callback(handle.remove)
        run()
    return recording


@contextmanager
def replaced(module: nn.Module, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Let a module return its output changed by a function."""
    handle = module.register_forward_hook(lambda module, args, output: change(output))
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


def _own_attention_into(recording: Recording, hf: nn.Module) -> CatchAttention:
    """Record attention that modules compute themselves."""

    def serve(module: nn.Module, caught: CaughtAttention, output: Tensor) -> Tensor:
        q, k, v, given = map(_numbers, (caught.query, caught.key, caught.value, output))
        recording.attention.append(AttentionRecord(module, q, k, v, given, recording.now(), caught))
        return output

    return CatchAttention(hf.modules(), serve, batch=1)


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
