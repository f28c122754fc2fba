"""The local executor: one forward pass through nnsight in which hooks read and replace values.

nnsight hands out values in the order in which the forward pass produces them. The hooks wanted are therefore grouped
into stops (a module and a port), visited in execution order; at each stop the raw value is read once, shown to its
hooks one after another, and written back once if any of them returned a new value.
"""

import inspect
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from jaxtyping import Float, Int
from torch import Tensor, nn

from results import InputError
from tracing.attention import AttentionCall
from tracing.hook_map import Site
from tracing.weights import affine, head_outputs, normalised, output_bias

if TYPE_CHECKING:
    from tracing.model import Model


@dataclass(frozen=True)
class Hook:
    """What a hook function learns about where it was called."""

    name: str

    def layer(self) -> int:
        """The block's number.

        Raises:
            InputError: The hook is not in a block.
        """
        parts = self.name.split(".")
        if parts[0] != "blocks":
            raise InputError(f"{self.name} is not in a block and has no layer")
        return int(parts[1])


HookFunction = Callable[..., Any]
"""`fn(value, hook)` returns None to leave the value, or a tensor of its shape to put in its place."""

Hooked = tuple[Site, HookFunction]


def run(
    model: "Model", tokens: Int[Tensor, "batch pos"], hooks: Sequence[Hooked], **inputs: Tensor
) -> Float[Tensor, "*places vocab"]:
    """The logits of a forward pass with these hooks; `inputs` are more of the model's own arguments."""
    stops = _stops(hooks)
    batch = len(tokens)
    with _turn(model):
        if not stops:
            return model.hf(**_inputs(tokens), **inputs).logits
        with model.nnsight.trace(**_inputs(tokens), **inputs):
            for stop in stops:
                _visit(model, stop, batch)
            logits = model.nnsight.output.logits.save()
    return logits


def run_until_last(model: "Model", tokens: Int[Tensor, "batch pos"], hooks: Sequence[Hooked]) -> None:
    """A forward pass that ends after the last of these hooks: nothing that only serves the logits is computed."""
    stops = _stops(hooks)
    batch = len(tokens)
    with _turn(model), model.nnsight.trace(**_inputs(tokens)) as tracer:
        for stop in stops:
            _visit(model, stop, batch)
        tracer.stop()


def _inputs(tokens: Tensor) -> dict[str, Any]:
    # Without a cache transformers looks at the values of the positions, and on meta there are none.
    return {"input_ids": tokens, "use_cache": tokens.is_meta}


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


def _stops(hooks: Sequence[Hooked]) -> list[list[Hooked]]:
    """Hooks in execution order, those that share a raw value together; equal ranks keep their order."""
    ordered = sorted(hooks, key=lambda hooked: hooked[0].rank)
    return [list(group) for _, group in groupby(ordered, key=lambda hooked: (hooked[0].module, hooked[0].port))]


def _visit(model: "Model", stop: list[Hooked], batch: int) -> None:
    from nnsight.intervention.interleaver import OutOfOrderError

    module, port = stop[0][0].module, stop[0][0].port
    try:
        _VISITORS[port](model, model.envoy(module), stop, batch)
    except OutOfOrderError as error:
        names = ", ".join(dict.fromkeys(site.name for site, _ in stop))
        raise InputError(f"{model.name}: the forward pass does not come by {module} where {names} waits") from error


def _call(hooked: Hooked, value: Any) -> Any:
    """Call a hook and check what it returned."""
    site, function = hooked
    before = _version(value)
    edited = _by_its_own_names(function)(value, Hook(site.name))
    if not isinstance(value, Tensor):
        return edited
    if edited is None:
        # What was changed in place goes on, as in TransformerLens; so does what carries gradients, which would
        # otherwise not reach the tensor that the hook saw and may have kept.
        return value if value.requires_grad or before is None or _version(value) != before else None
    if not isinstance(edited, Tensor) or edited.shape != value.shape:
        came = f"a tensor of shape {list(edited.shape)}" if isinstance(edited, Tensor) else type(edited).__name__
        raise InputError(
            f"the hook on {site.name} must return None or a tensor of shape {list(value.shape)}, not {came}"
        )
    return edited.to(value.dtype)


def _version(value: Any) -> int | None:
    """How often a tensor was changed in place; None where that is not counted."""
    return value._version if isinstance(value, Tensor) and not value.is_inference() else None


def _by_its_own_names(function: HookFunction) -> HookFunction:
    """TransformerLens passes `hook` by keyword, and functions written for it may keep it anywhere."""
    try:
        parameters = inspect.signature(function).parameters
        taken = [parameter.kind for parameter in parameters.values()]
        by_keyword = "hook" in parameters or taken[1:] == [inspect.Parameter.VAR_KEYWORD]
    except (TypeError, ValueError):  # a builtin says nothing of its parameters
        by_keyword = False
    return (lambda value, hook: function(value, hook=hook)) if by_keyword else function


def _through_views(raw: Tensor, stop: list[Hooked], batch: int) -> Tensor | None:
    """Show a raw value to its hooks; the edited raw value, or None if nobody edited."""
    current = raw
    for hooked in stop:
        view = hooked[0].view
        edited = _call(hooked, view.read(current, batch))
        if edited is not None:
            current = view.write(current, edited, batch)
    return None if current is raw else current


def _visit_input(model: "Model", envoy: Any, stop: list[Hooked], batch: int) -> None:
    edited = _through_views(envoy.input, stop, batch)
    if edited is not None:
        envoy.input = edited


def _visit_output(model: "Model", envoy: Any, stop: list[Hooked], batch: int) -> None:
    raw = envoy.output
    first = raw[0] if isinstance(raw, tuple) else raw
    edited = _through_views(first, stop, batch)
    if edited is not None:
        envoy.output = (edited, *raw[1:]) if isinstance(raw, tuple) else edited


def _visit_operation(model: "Model", envoy: Any, stop: list[Hooked], batch: int) -> None:
    operation = getattr(envoy.source, stop[0][0].detail)
    edited = _through_views(operation.output, stop, batch)
    if edited is not None:
        operation.output = edited


def _visit_norm(model: "Model", envoy: Any, stop: list[Hooked], batch: int) -> None:
    norm = envoy._module
    edited = _through_views(normalised(norm, envoy.input), stop, batch)
    if edited is not None:
        envoy.skip(affine(norm, edited))


def _visit_attention(model: "Model", envoy: Any, stop: list[Hooked], batch: int) -> None:
    """Hooks at the attention call, in the order query, key, scores, pattern; whatever is edited is computed from."""
    operation = getattr(envoy.source, model.attention_operation)
    call = AttentionCall.of(*operation.inputs)
    output = scores = pattern = None
    for hooked in stop:
        part = hooked[0].detail
        if part == "call":
            edited = _call(hooked, call)
            output = edited if edited is not None else output
        elif part in ("query", "key"):
            call = _with_edit(call, part, hooked)
        elif part == "scores":
            scores = call.scores() if scores is None else scores
            edited = _call(hooked, scores)
            scores = scores if edited is None else edited
        else:
            pattern = call.pattern(scores) if pattern is None else pattern
            edited = _call(hooked, pattern)
            pattern = pattern if edited is None else edited
    if output is None:
        output = call.apply(call.pattern(scores) if pattern is None else pattern)
    operation.skip((output.transpose(1, 2).contiguous(), None))


def _with_edit(call: AttentionCall, part: str, hooked: Hooked) -> AttentionCall:
    """Show rotated queries or keys, [batch, pos, head, d_head], to their hook."""
    edited = _call(hooked, getattr(call, part).transpose(1, 2))
    return call if edited is None else replace(call, **{part: edited.transpose(1, 2)})


def _visit_result(model: "Model", envoy: Any, stop: list[Hooked], batch: int) -> None:
    projection = envoy._module
    result = head_outputs(projection, stop[0][0].view.read(envoy.input, batch))
    for hooked in stop:
        edited = _call(hooked, result)
        if edited is not None:
            result = edited
            envoy.skip(result.sum(-2) + output_bias(projection))


def _visit_select(model: "Model", envoy: Any, stop: list[Hooked], batch: int) -> None:
    envoy.input = stop[-1][1](envoy.input, Hook(stop[-1][0].name))


def _visit_skip(model: "Model", envoy: Any, stop: list[Hooked], batch: int) -> None:
    value = envoy.input
    instead = _call(stop[-1], value)
    envoy.skip(value if instead is None else instead)


_VISITORS: dict[str, Callable[["Model", Any, list[Hooked], int], None]] = {
    "input": _visit_input,
    "output": _visit_output,
    "operation": _visit_operation,
    "norm": _visit_norm,
    "attention": _visit_attention,
    "result": _visit_result,
    "select": _visit_select,
    "skip": _visit_skip,
}
