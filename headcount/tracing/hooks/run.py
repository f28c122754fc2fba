"""Forward passes run in the process that has the weights: this one, or a server's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from headcount.remote_code import runs_remotely
from headcount.tracing.hooks.hook import Hook, RecordGradient
from headcount.tracing.hooks.ports import call_hooks_at, catch_attention, find_envoy, prepare_sources

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headcount.tracing.hooks.passes import ForwardPass


@runs_remotely
class ServedModel:
    """A model on a server, for hooks and formulas; see `TracedModel` for the attributes."""

    def __init__(self, nnsight: Any, name: str, anatomy: Any) -> None:
        self.nnsight, self.hf, self.name, self.pruned = nnsight, nnsight._module, name, None
        self.anatomy, self.family, self.sizes = anatomy, anatomy.family, anatomy.sizes

    def envoy(self, path: str) -> Any:
        """Return the nnsight envoy of a module."""
        return find_envoy(self.nnsight, path)

    def paths(self, layer: int) -> Any:
        """Return the family with the paths of the modules in a block."""
        return self.anatomy.blocks[layer] if self.anatomy.blocks else self.family

    def block(self, layer: int) -> Any:
        """Return a block with its weights."""
        return self.hf.get_submodule(f"{self.family.layers}.{layer}")


@runs_remotely
def serve(nnsight: Any, name: str, anatomy: Any, passes: Sequence[ForwardPass]) -> list[Any]:
    """Run the passes of a request on the server.

    Returns:
        For each pass its result and the records of each of its recorders, on the CPU.
    """
    model = ServedModel(nnsight, name, anatomy)
    device = model.hf.get_input_embeddings().weight.device
    for forward in passes:
        forward.inputs = {name: to_device(device, value) for name, value in forward.inputs.items()}
    results = run_passes(model, passes)
    return [
        [to_device("cpu", result), [to_device("cpu", recorder.records) for recorder in forward.recorders()]]
        for forward, result in zip(passes, results, strict=True)
    ]


@runs_remotely
def to_device(device: Any, value: Any) -> Any:
    """Move tensors, or lists, tuples and dicts of them, to a device, without gradients."""
    if isinstance(value, Tensor):
        return value.detach().to(device)
    if isinstance(value, dict):
        return {key: to_device(device, inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(to_device(device, inner) for inner in value)
    return value


@runs_remotely
def run_passes(model: Any, passes: Sequence[ForwardPass]) -> list[Any]:
    """Run some passes in order, and return the result of each.

    Args:
        model: A `TracedModel`.
        passes: The passes; hooks of later ones may read records of earlier ones.
    """
    results = []
    for forward in passes:
        batch = len(forward.inputs["input_ids"])
        with torch.set_grad_enabled(forward.gradients), catch_attention(model, forward.stops, batch):
            results.append(_run(model, forward))
    return results


@runs_remotely
def _run(model: Any, forward: ForwardPass) -> Any:
    inputs, batch = model_arguments(model, forward.inputs), len(forward.inputs["input_ids"])
    prepare_sources(model, forward.stops)
    if not forward.stops:
        logits = model.hf(**inputs).logits
    elif forward.only_hooks:
        with model.nnsight.trace(**inputs) as tracer:
            for stop in forward.stops:
                call_hooks_at(model, stop, batch)
            tracer.stop()
        logits = None
    else:
        with model.nnsight.trace(**inputs):
            for stop in forward.stops:
                call_hooks_at(model, stop, batch)
            logits = model.nnsight.output.logits.save()
    result = logits if forward.finish is None else forward.finish(logits, Hook("", model))
    if recorders := forward.gradient_recorders():
        differentiate([result], recorders)
    return result


@runs_remotely
def differentiate(
    results: Sequence[Tensor],
    recorders: Sequence[RecordGradient],
    also: Sequence[Tensor] = (),
    outer: Sequence[Tensor] | None = None,
) -> list[Tensor]:
    """Compute gradients, let hooks record them, and drop the values that the hooks held.

    Args:
        results: The tensors to differentiate.
        recorders: The hooks.
        also: Further tensors to differentiate with respect to.
        outer: The gradient with respect to each result; None for results of one number.

    Returns:
        The gradients with respect to the further tensors.
    """
    held = [(recorder, value) for recorder in recorders for value in recorder.values]
    gradients = torch.autograd.grad(results, [value for _, value in held] + list(also), outer)
    for (recorder, value), gradient in zip(held, gradients, strict=False):
        recorder.records.append(recorder.reduce(value.detach(), gradient))
    for recorder in recorders:
        recorder.values = []
    return list(gradients[len(held) :])


@runs_remotely
def model_arguments(model: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    """Return the model's own arguments, in which `visible` has become a mask in the model's number format."""
    if "visible" not in inputs:
        return inputs
    visible, weights = inputs["visible"], model.hf.get_input_embeddings().weight
    # Invisible tokens get the lowest number rather than -inf, as in transformers' own masks.
    lowest = torch.finfo(weights.dtype).min
    mask = torch.zeros(visible.shape, dtype=weights.dtype, device=visible.device).masked_fill(~visible, lowest)
    return {name: value for name, value in inputs.items() if name != "visible"} | {"attention_mask": mask[:, None]}
