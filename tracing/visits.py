"""What happens inside a forward pass: values are read and replaced where they come by.

nnsight hands out values in the order in which the forward pass produces them. The hooks wanted are therefore grouped
into stops (a module and a port), visited in execution order; at each stop the raw value is read once, shown to its
hooks one after another, and written back once if any of them returned a new value.

This module runs wherever the model is, here or on a server that has torch and nnsight, but not this toolkit. So what
is used here, and in hooks that are part of the toolkit, keeps to functions and plain classes, which travel as
their source: no dataclasses, whose generated methods have none, no annotations that must exist on the other side, no
state but in arguments.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from results.errors import InputError
from tracing.attention import AttentionCall
from tracing.weights import affine, head_outputs, normalised, output_bias

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tracing.views import View

    HookFunction = Callable[..., Any]
    """`fn(value, hook)` returns None to leave the value, or a tensor of its shape to put in its place."""

    Stop = tuple[str, str, Sequence[tuple[str, View, str, HookFunction]]]
    """Module and port (see `hook_map.Site`), and the hooks there: name, view, detail, function."""


class Hook:
    """What a hook function learns about where it was called.

    Attributes:
        name: The hook's name.
        model: What runs: a `Model`, or a `Parts` on a server.
    """

    def __init__(self, name: str, model: Any = None) -> None:
        self.name, self.model = name, model

    def layer(self) -> int:
        """The block's number.

        Raises:
            InputError: The hook is not in a block.
        """
        parts = self.name.split(".")
        if parts[0] != "blocks":
            raise InputError(f"{self.name} is not in a block and has no layer")
        return int(parts[1])


class Keeper:
    """A hook that leaves something behind, wherever the model runs: `kept` comes back to who asked.

    Attributes:
        kept: Tensors, or lists and dicts of them.
        returns: Whether they come back from a server; what only other hooks of the same run read stays there.
    """

    def __init__(self, *, returns: bool = True) -> None:
        self.kept: list[Any] = []
        self.returns = returns


class Keep(Keeper):
    """Keeps a copy of every value that comes by."""

    def __call__(self, value: Tensor, hook: Hook) -> None:
        """Keep it."""
        self.kept.append(value.detach().clone())


class Differentiable(Keeper):
    """Keeps what is read off a value and the gradient of the pass's result with respect to it, of every value.

    Args:
        read: Takes a value and its gradient.

    Attributes:
        values: What the pass has shown so far; what goes on from there is what is kept here.
    """

    def __init__(self, read: Callable[[Tensor, Tensor], Any]) -> None:
        super().__init__()
        self.read = read
        self.values: list[Tensor] = []

    def __call__(self, value: Tensor, hook: Hook) -> Tensor:
        """Keep it, and let it go on."""
        self.values.append(value.view_as(value))
        return self.values[-1]


class Give:
    """Puts the first value that another hook kept in place of what comes by, as often as the batch is repeated."""

    def __init__(self, keeper: Keeper, repeats: int = 1) -> None:
        self.keeper, self.repeats = keeper, repeats

    def __call__(self, value: Tensor, hook: Hook) -> Tensor:
        """Give it."""
        (kept,) = self.keeper.kept
        return kept if self.repeats == 1 else kept.repeat(self.repeats, *[1] * (kept.dim() - 1))


class Select:
    """Some places of a batch: the unembedding is applied to no others."""

    def __init__(self, row: Tensor, pos: Tensor) -> None:
        self.row, self.pos = row, pos

    def __call__(self, resid: Tensor, hook: Hook) -> Tensor:
        """Their rows of the residual stream."""
        return resid[self.row.to(resid.device), self.pos.to(resid.device)]


class Pass:
    """One forward pass: what goes in, who looks on, and what is made of the logits.

    Attributes:
        inputs: The model's own arguments; and `seen`, [batch, query, key], which tokens each token attends to, where
            that is not all up to itself.
        stops: Where hooks are called, in execution order.
        finish: What makes the pass's result of the logits, given them and the `Hook` of the whole model; None hands out
            the logits themselves. For `Differentiable` hooks it makes one number, which is differentiated.
        only_hooks: Whether the pass ends after the last hook: nothing that only serves the logits is computed.
        gradients: Whether it can be differentiated.
    """

    def __init__(
        self,
        inputs: dict[str, Any],
        stops: Sequence[Stop],
        finish: Callable[[Tensor, Hook], Any] | None,
        *,
        only_hooks: bool,
        gradients: bool,
    ) -> None:
        self.inputs, self.stops, self.finish = inputs, stops, finish
        self.only_hooks, self.gradients = only_hooks, gradients

    def keepers(self) -> list[Keeper]:
        """The hooks that leave something behind for who asked."""
        functions: Sequence[Any] = [function for _, _, hooks in self.stops for _, _, _, function in hooks]
        return list({id(one): one for one in functions if isinstance(one, Keeper) and one.returns}.values())

    def differentiable(self) -> list[Differentiable]:
        """The hooks that want gradients."""
        return [one for one in self.keepers() if isinstance(one, Differentiable)]


class Parts:
    """What hooks and formulas need of a model where it is not a `Model`: on a server.

    Attributes:
        nnsight: The model as nnsight sees it.
        hf: The transformers model.
        name: What it is called in messages.
        family: Where its architecture keeps its parts.
        sizes: How large it is.
        pruned: None: all parts are there.
        stream: None: all weights are there.
    """

    def __init__(self, nnsight: Any, name: str, family: Any, sizes: Any) -> None:
        self.nnsight, self.hf, self.name, self.family, self.sizes = nnsight, nnsight._module, name, family, sizes
        self.pruned = self.stream = None

    def envoy(self, path: str) -> Any:
        """The nnsight envoy of a module."""
        envoy = self.nnsight
        for part in path.split("."):
            envoy = envoy[int(part)] if part.isdigit() else getattr(envoy, part)
        return envoy


def serve(nnsight: Any, name: str, family: Any, sizes: Any, passes: Sequence[Pass]) -> list[Any]:
    """What a server does for a request: play the passes, and give what comes back, on the CPU.

    Returns:
        For each pass its result, and what each of its keepers kept.
    """
    model = Parts(nnsight, name, family, sizes)
    device = model.hf.get_input_embeddings().weight.device
    for one in passes:
        one.inputs = {name: to(device, value) for name, value in one.inputs.items()}
    found = play(model, passes)
    return [
        [to("cpu", result), [to("cpu", keeper.kept) for keeper in one.keepers()]]
        for one, result in zip(passes, found, strict=True)
    ]


def to(device: Any, value: Any) -> Any:
    """Tensors, or lists, tuples and dicts of them, on a device and without gradients."""
    if isinstance(value, Tensor):
        return value.detach().to(device)
    if isinstance(value, dict):
        return {key: to(device, inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(to(device, inner) for inner in value)
    return value


def play(model: Any, passes: Sequence[Pass]) -> list[Any]:
    """Run some passes, and return the result of each.

    Args:
        model: A `Model`, or a `Parts`.
        passes: The passes, in order; later ones may use what hooks of earlier ones kept.
    """
    found = []
    for one in passes:
        with torch.set_grad_enabled(one.gradients):
            found.append(_play(model, one))
    return found


def _play(model: Any, one: Pass) -> Any:
    inputs, batch = arguments(model, one.inputs), len(one.inputs["input_ids"])
    look_into(model, one.stops)
    if not one.stops:
        logits = model.hf(**inputs).logits
    elif one.only_hooks:
        with model.nnsight.trace(**inputs) as tracer:
            for stop in one.stops:
                visit(model, stop, batch)
            tracer.stop()
        logits = None
    else:
        with model.nnsight.trace(**inputs):
            for stop in one.stops:
                visit(model, stop, batch)
            logits = model.nnsight.output.logits.save()
    result = logits if one.finish is None else one.finish(logits, Hook("", model))
    if asking := one.differentiable():
        differentiate([result], asking)
    return result


def differentiate(
    results: Sequence[Tensor],
    asking: Sequence[Differentiable],
    also: Sequence[Tensor] = (),
    outer: Sequence[Tensor] | None = None,
) -> list[Tensor]:
    """Differentiate, let hooks read the gradients they ask for, and forget what they have seen.

    Args:
        results: What is differentiated.
        asking: The hooks.
        also: Other values that gradients are wanted of.
        outer: The gradients with respect to the results, where these are not one number.

    Returns:
        The gradients of the other values.
    """
    seen = [(one, value) for one in asking for value in one.values]
    found = torch.autograd.grad(results, [value for _, value in seen] + list(also), outer)
    for (one, value), gradient in zip(seen, found, strict=False):
        one.kept.append(one.read(value.detach(), gradient))
    for one in asking:
        one.values = []
    return list(found[len(seen) :])


def arguments(model: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    """The model's own arguments: what is seen becomes a mask only where the model is, in its number format."""
    if "seen" not in inputs:
        return inputs
    seen, weights = inputs["seen"], model.hf.get_input_embeddings().weight
    # What is not seen gets the lowest number rather than -inf, as transformers writes its own masks.
    lowest = torch.finfo(weights.dtype).min
    mask = torch.zeros(seen.shape, dtype=weights.dtype, device=seen.device).masked_fill(~seen, lowest)
    return {name: value for name, value in inputs.items() if name != "seen"} | {"attention_mask": mask[:, None]}


def look_into(model: Any, stops: Sequence[Stop]) -> None:
    """Have nnsight look into the modules of whose operations some are visited: in a pass it is too late for that."""
    for module, port, _ in stops:
        if port in ("operation", "attention"):
            len(model.envoy(module).source.names)


def visit(model: Any, stop: Stop, batch: int) -> None:
    """Wait for a stop's value, and show it to its hooks.

    Raises:
        InputError: The value does not come by when it should.
    """
    from nnsight.intervention.interleaver import OutOfOrderError

    module, port, hooks = stop
    visitor = {
        "input": _visit_input,
        "output": _visit_output,
        "operation": _visit_operation,
        "norm": _visit_norm,
        "attention": _visit_attention,
        "result": _visit_result,
        "select": _visit_select,
        "skip": _visit_skip,
    }[port]
    try:
        visitor(model, model.envoy(module), stop, batch)
    except OutOfOrderError as error:
        names = ", ".join(dict.fromkeys(name for name, _, _, _ in hooks))
        raise InputError(f"{model.name}: the forward pass does not come by {module} where {names} waits") from error


def attention_operation(envoy: Any) -> str | None:
    """The label of the call of an attention function in an attention module; nnsight numbers operations by name."""
    calls = [name for name in envoy.source.names if name.startswith("attention_interface_")]
    return calls[-1] if calls else None


def call_hook(model: Any, name: str, function: HookFunction, value: Any) -> Any:
    """Call a hook and check what it returned."""
    before = _version(value)
    edited = _by_its_own_names(function)(value, Hook(name, model))
    if not isinstance(value, Tensor):
        return edited
    if edited is None:
        # What was changed in place goes on, as in TransformerLens; so does what carries gradients, which would
        # otherwise not reach the tensor that the hook saw and may have kept.
        return value if value.requires_grad or before is None or _version(value) != before else None
    if not isinstance(edited, Tensor) or edited.shape != value.shape:
        came = f"a tensor of shape {list(edited.shape)}" if isinstance(edited, Tensor) else type(edited).__name__
        raise InputError(f"the hook on {name} must return None or a tensor of shape {list(value.shape)}, not {came}")
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


def _through_views(model: Any, raw: Tensor, stop: Stop, batch: int) -> Tensor | None:
    """Show a raw value to its hooks; the edited raw value, or None if nobody edited."""
    current = raw
    for name, view, _, function in stop[2]:
        edited = call_hook(model, name, function, view.read(current, batch))
        if edited is not None:
            current = view.write(current, edited, batch)
    return None if current is raw else current


def _visit_input(model: Any, envoy: Any, stop: Stop, batch: int) -> None:
    edited = _through_views(model, envoy.input, stop, batch)
    if edited is not None:
        envoy.input = edited


def _visit_output(model: Any, envoy: Any, stop: Stop, batch: int) -> None:
    raw = envoy.output
    first = raw[0] if isinstance(raw, tuple) else raw
    edited = _through_views(model, first, stop, batch)
    if edited is not None:
        envoy.output = (edited, *raw[1:]) if isinstance(raw, tuple) else edited


def _visit_operation(model: Any, envoy: Any, stop: Stop, batch: int) -> None:
    operation = getattr(envoy.source, stop[2][0][2])
    edited = _through_views(model, operation.output, stop, batch)
    if edited is not None:
        operation.output = edited


def _visit_norm(model: Any, envoy: Any, stop: Stop, batch: int) -> None:
    norm = envoy._module
    edited = _through_views(model, normalised(norm, envoy.input), stop, batch)
    if edited is not None:
        envoy.skip(affine(norm, edited))


def _visit_attention(model: Any, envoy: Any, stop: Stop, batch: int) -> None:
    """Hooks at the attention call, in the order query, key, scores, pattern; whatever is edited is computed from."""
    operation = getattr(envoy.source, str(attention_operation(envoy)))
    call = AttentionCall.of(*operation.inputs)
    output = scores = pattern = None
    for name, _, part, function in stop[2]:
        if part == "call":
            edited = call_hook(model, name, function, call)
            output = edited if edited is not None else output
        elif part in ("query", "key"):
            edited = call_hook(model, name, function, getattr(call, part).transpose(1, 2))
            call = call if edited is None else call.but(**{part: edited.transpose(1, 2)})
        elif part == "scores":
            scores = call.scores() if scores is None else scores
            edited = call_hook(model, name, function, scores)
            scores = scores if edited is None else edited
        else:
            pattern = call.pattern(scores) if pattern is None else pattern
            edited = call_hook(model, name, function, pattern)
            pattern = pattern if edited is None else edited
    if output is None:
        output = call.apply(call.pattern(scores) if pattern is None else pattern)
    operation.skip((output.transpose(1, 2).contiguous(), None))


def _visit_result(model: Any, envoy: Any, stop: Stop, batch: int) -> None:
    projection = envoy._module
    result = head_outputs(projection, stop[2][0][1].read(envoy.input, batch))
    for name, _, _, function in stop[2]:
        edited = call_hook(model, name, function, result)
        if edited is not None:
            result = edited
            envoy.skip(result.sum(-2) + output_bias(projection))


def _visit_select(model: Any, envoy: Any, stop: Stop, batch: int) -> None:
    name, _, _, function = stop[2][-1]
    envoy.input = function(envoy.input, Hook(name, model))


def _visit_skip(model: Any, envoy: Any, stop: Stop, batch: int) -> None:
    value = envoy.input
    name, _, _, function = stop[2][-1]
    instead = call_hook(model, name, function, value)
    envoy.skip(value if instead is None else instead)
