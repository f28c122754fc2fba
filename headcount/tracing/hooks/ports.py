"""Hooks called at each port: a module's input or output, an operation inside it, the attention call.

`call_hooks_at` waits for the value of a stop and calls the stop's hooks with it; `HANDLERS` has a function for each
port.
"""

from __future__ import annotations

import inspect
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from torch import Tensor

from headcount.remote_code import runs_remotely
from headcount.results import InputError
from headcount.tracing.architectures.own_attention import CatchAttention
from headcount.tracing.architectures.views import expert_outputs
from headcount.tracing.hooks.attention import AttentionCall
from headcount.tracing.hooks.hook import Hook, HookFunction
from headcount.tracing.hooks.modules import affine, head_outputs, normalised, output_bias

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headcount.tracing.hooks.passes import Stop


@runs_remotely
def find_envoy(root: Any, path: str) -> Any:
    """Return the nnsight envoy of a module, given its path below `root`."""
    envoy = root
    for part in filter(None, path.split(".")):
        envoy = envoy[int(part)] if part.isdigit() else getattr(envoy, part)
    return envoy


@runs_remotely
def prepare_sources(model: Any, stops: Sequence[Stop]) -> None:
    """Let nnsight read the source of modules whose operations are hooked, which it must do before a pass."""
    for stop in stops:
        if stop.port == "operation" or (stop.port == "attention" and not model.paths(stop.layer()).scale):
            len(model.envoy(stop.module).source.names)


@runs_remotely
def catch_attention(model: Any, stops: Sequence[Stop], batch: int) -> Any:
    """Return a block in which the attention that stops want is caught, where the model computes it itself."""
    wanted = [stop for stop in stops if stop.port == "attention" and model.paths(stop.layer()).scale]
    envoys = {envoy._module: envoy for envoy in (model.envoy(stop.module) for stop in wanted)}

    def serve(module: Any, caught: Any, output: Tensor) -> Tensor:
        given = envoys[module].interleaver.handle(_caught_at(envoys[module]), caught)
        return given if isinstance(given, Tensor) else output

    return CatchAttention(list(envoys), serve, batch) if envoys else nullcontext()


@runs_remotely
def _caught_at(envoy: Any) -> str:
    """Return nnsight's name of the place at which a module's attention is caught."""
    return f"{envoy.path}.caught"


@runs_remotely
def call_hooks_at(model: Any, stop: Stop, batch: int) -> None:
    """Wait for a stop's value, and call its hooks with it.

    Raises:
        InputError: The forward pass does not compute the value, or computes it before an earlier stop's.
    """
    from nnsight.intervention.interleaver import OutOfOrderError

    try:
        HANDLERS[stop.port](model, model.envoy(stop.module), stop, batch)
    except OutOfOrderError as error:
        names = ", ".join(dict.fromkeys(hook.name for hook in stop.hooks))
        raise InputError(
            f"{model.name}: no value for {names}: the forward pass does not reach {stop.module} when it should; if "
            "modules of the model were replaced, open it again with load_model"
        ) from error


@runs_remotely
def attention_operation(envoy: Any) -> str | None:
    """Return the label of the attention function's call in an attention module; None if there is no such call.

    nnsight numbers the operations of one name.
    """
    calls = [name for name in envoy.source.names if name.startswith("attention_interface_")]
    return calls[-1] if calls else None


@runs_remotely
def call_hook(model: Any, name: str, function: HookFunction, value: Any) -> Any:
    """Call a hook and check what it returned."""
    before = _version(value)
    edited = _with_keyword(function)(value, Hook(name, model))
    if not isinstance(value, Tensor):
        return edited
    if edited is None:
        # A value that was changed in place replaces the old one, as in TransformerLens; so does one with gradients, so
        # that they reach the tensor that the hook was called with and may have recorded.
        return value if value.requires_grad or before is None or _version(value) != before else None
    if not isinstance(edited, Tensor) or edited.shape != value.shape:
        actual = f"a tensor of shape {list(edited.shape)}" if isinstance(edited, Tensor) else type(edited).__name__
        raise InputError(f"the hook on {name} must return None or a tensor of shape {list(value.shape)}, not {actual}")
    return edited.to(value.dtype)


@runs_remotely
def _version(value: Any) -> int | None:
    """Return the number of changes in place of a tensor; None if they are not counted."""
    return value._version if isinstance(value, Tensor) and not value.is_inference() else None


@runs_remotely
def _with_keyword(function: HookFunction) -> HookFunction:
    """Return the function so that `hook` is passed by keyword if it has such a parameter, as in TransformerLens."""
    return (lambda value, hook: function(value, hook=hook)) if _takes_keyword(function) else function


@runs_remotely
def _takes_keyword(function: HookFunction) -> bool:
    """Return True if a function takes `hook` by keyword."""
    code = getattr(function, "__code__", None) or getattr(type(function).__call__, "__code__", None)
    if code is not None and "hook" in code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]:
        return True  # a signature, made at every call of every hook, would take a tenth of a small model's pass
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):  # a builtin has no signature
        return False
    kinds = [parameter.kind for parameter in parameters.values()]
    return "hook" in parameters or kinds[1:] == [inspect.Parameter.VAR_KEYWORD]


@runs_remotely
def _through_views(model: Any, raw: Tensor, stop: Stop, batch: int) -> Tensor | None:
    """Call hooks with their views of a raw value; return the edited raw value, or None if no hook edited it."""
    current = raw
    for hook in stop.hooks:
        edited = call_hook(model, hook.name, hook.function, hook.view.read(current, batch))
        if edited is not None:
            current = hook.view.write(current, edited, batch)
    return None if current is raw else current


@runs_remotely
def _at_input(model: Any, envoy: Any, stop: Stop, batch: int) -> None:
    edited = _through_views(model, envoy.input, stop, batch)
    if edited is not None:
        envoy.input = edited


@runs_remotely
def _at_output(model: Any, envoy: Any, stop: Stop, batch: int) -> None:
    raw = envoy.output
    first = _first(raw)
    edited = _through_views(model, first, stop, batch)
    if stop.hooks[0].detail == "copy":
        edited = (first if edited is None else edited).clone()
    if edited is not None:
        envoy.output = _with_first(raw, edited)


@runs_remotely
def _first(raw: Any) -> Tensor:
    """Return a module's output, or the first element of several."""
    return raw[0] if isinstance(raw, tuple | list) else raw


@runs_remotely
def _with_first(raw: Any, edited: Tensor) -> Any:
    """Return a module's output with another first element, or another output where it is one tensor."""
    return type(raw)((edited, *raw[1:])) if isinstance(raw, tuple | list) else edited


@runs_remotely
def _at_operation(model: Any, envoy: Any, stop: Stop, batch: int) -> None:
    operation = getattr(envoy.source, stop.hooks[0].detail)
    edited = _through_views(model, operation.output, stop, batch)
    if edited is not None:
        operation.output = edited


@runs_remotely
def _at_keep(model: Any, envoy: Any, stop: Stop, batch: int) -> None:
    point = stop.hooks[0]
    value = point.view.read(envoy.input, batch)
    stop.kept.value = value * envoy._module.get_parameter(point.detail) if point.detail else value


@runs_remotely
def _at_keep_more(model: Any, envoy: Any, stop: Stop, batch: int) -> None:
    value = stop.hooks[0].view.read(_first(envoy.output), batch)
    stop.kept.value = value if stop.kept.value is None else stop.kept.value + value


@runs_remotely
def _at_middle(model: Any, envoy: Any, stop: Stop, batch: int) -> None:
    """Call hooks with the block's input plus what attention adds to it; an edit becomes one of what attention adds."""
    raw, before, view = envoy.output, stop.kept.value, stop.hooks[0].view
    first = _first(raw)
    edited = _edited(model, before + view.read(first, batch), stop)
    if edited is not None:
        envoy.output = _with_first(raw, view.write(first, edited - before, batch))


@runs_remotely
def _at_rest(model: Any, envoy: Any, stop: Stop, batch: int) -> None:
    """Call hooks with a block's output less the residual stream that was kept in it."""
    raw, before = envoy.output, stop.kept.value
    edited = _edited(model, _first(raw) - before, stop)
    if edited is not None:
        envoy.output = _with_first(raw, before + edited)


@runs_remotely
def _edited(model: Any, value: Tensor, stop: Stop) -> Tensor | None:
    """Call hooks one after another; return the last one's edit, or None if there is none."""
    last = None
    for hook in stop.hooks:
        edited = call_hook(model, hook.name, hook.function, value)
        if edited is not None:
            value = last = edited
    return last


@runs_remotely
def _at_norm(model: Any, envoy: Any, stop: Stop, batch: int) -> None:
    norm = envoy._module
    edited = _through_views(model, normalised(norm, envoy.input), stop, batch)
    if edited is not None:
        envoy.skip(affine(norm, edited))


@runs_remotely
def _at_attention(model: Any, envoy: Any, stop: Stop, batch: int) -> None:
    if scale := model.paths(stop.layer()).scale:
        from nnsight.intervention.interleaver import Mediator

        place = _caught_at(envoy)
        call = AttentionCall.of_caught(Mediator.value(place), scale, model.sizes.n_kv_heads)
        Mediator.swap(place, _attended(model, call, stop))
        return
    operation = getattr(envoy.source, str(attention_operation(envoy)))
    output = _attended(model, AttentionCall.of(*operation.inputs), stop)
    operation.skip((output.transpose(1, 2).contiguous(), None))


@runs_remotely
def _attended(model: Any, call: AttentionCall, stop: Stop) -> Tensor:
    """Return the heads' outputs after the hooks of an attention call.

    They are called in the order query, key, scores, pattern; later ones see earlier edits.
    """
    output = scores = pattern = None
    for hook in stop.hooks:
        name, part, function = hook.name, hook.detail, hook.function
        if part == "call":
            edited = call_hook(model, name, function, call)
            output = edited if edited is not None else output
        elif part in ("query", "key"):
            edited = call_hook(model, name, function, getattr(call, part).transpose(1, 2))
            call = call if edited is None else call.replace(**{part: edited.transpose(1, 2)})
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
    return output


@runs_remotely
def _at_result(model: Any, envoy: Any, stop: Stop, batch: int) -> None:
    projection, view = envoy._module, stop.hooks[0].view
    result = head_outputs(projection, view.read(envoy.input, batch))
    for hook in stop.hooks:
        edited = call_hook(model, hook.name, hook.function, result)
        if edited is not None:
            result = edited
            envoy.skip(result.sum(-2) / view.scale + output_bias(projection))


@runs_remotely
def _at_router(model: Any, envoy: Any, stop: Stop, batch: int) -> None:
    """Call hooks with the weight of each expert for each token, [batch, pos, expert]; 0 where it is not chosen."""
    (tokens, chosen, weights), options = envoy.inputs
    dense = weights.new_zeros(len(weights), envoy._module.num_experts).scatter(1, chosen, weights)
    edited = _edited(model, dense.unflatten(0, (batch, -1)), stop)
    if edited is None:
        return
    flat = edited.flatten(0, 1)
    kept = flat.gather(1, chosen)
    if flat.count_nonzero() != kept.count_nonzero():
        raise InputError(
            f"the hook on {stop.first_name()} gave a weight to an expert that was not chosen for a token: such an "
            "expert does not run; change the weights of chosen ones"
        )
    envoy.inputs = ((tokens, chosen, kept), options)


@runs_remotely
def _at_experts(model: Any, envoy: Any, stop: Stop, batch: int) -> None:
    """Call hooks with what each expert gives of each token, times its weight, [batch, pos, expert, d_model]."""
    (tokens, chosen, weights), _ = envoy.inputs
    given = expert_outputs(envoy._module, tokens, chosen, weights)
    edited = _edited(model, given.unflatten(0, (batch, -1)), stop)
    if edited is not None:
        envoy.skip(edited.flatten(0, 1).sum(1).view_as(tokens))


@runs_remotely
def _at_select(model: Any, envoy: Any, stop: Stop, batch: int) -> None:
    hook = stop.hooks[-1]
    envoy.input = hook.function(envoy.input, Hook(hook.name, model))


@runs_remotely
def _at_skip(model: Any, envoy: Any, stop: Stop, batch: int) -> None:
    value, hook = envoy.input, stop.hooks[-1]
    replacement = call_hook(model, hook.name, hook.function, value)
    value = value if replacement is None else replacement
    elements = int(hook.detail or 0)
    envoy.skip((value, *[None] * (elements - 1)) if elements else value)


HANDLERS = {
    "input": _at_input,
    "output": _at_output,
    "operation": _at_operation,
    "keep": _at_keep,
    "keep_more": _at_keep_more,
    "middle": _at_middle,
    "rest": _at_rest,
    "norm": _at_norm,
    "attention": _at_attention,
    "result": _at_result,
    "router": _at_router,
    "experts": _at_experts,
    "select": _at_select,
    "skip": _at_skip,
}
"""The function that reads and writes the value of each port (`hook_map.Port`); constant."""
