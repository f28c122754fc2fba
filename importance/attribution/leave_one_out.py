"""Forward passes that leave out one part at a time: each layer's feed-forward network, or each head.

Below the part that is left out everything is as in the whole model, so each run begins at its layer, with the residual
stream of the whole model's run. The hooks travel to wherever the model is (see `headcount.remote_code`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from headcount.importance.likelihoods.log_likelihoods import LogLikelihood, log_likelihood_passes, sum_by_request
from headcount.importance.likelihoods.prefix_tree import PrefixTree
from headcount.importance.likelihoods.tree_passes import (
    TargetLogProbabilities,
    logit_positions,
    share_inputs,
    tree_pass,
)
from headcount.remote_code import runs_remotely
from headcount.tracing import Hook, Model
from headcount.tracing.internal import (
    ForwardPass,
    Patch,
    Prepared,
    Put,
    Recorder,
    RecordValue,
    Replacement,
    Zero,
    over_all_layers,
    pad,
)

Values = Tensor | RecordValue | None
"""The values of a layer's parts in their ablation: means, the hook that records those of other rows, or zeros."""


def without_each_ffn(
    model: Model, trees: Sequence[PrefixTree], replacement: Replacement | None = None
) -> Prepared[list[list[LogLikelihood]]]:
    """Return passes for the log-likelihoods of each tree with all parts, then without the FFN of layer 0, 1, ..."""
    streams = [RecordValue(returns=False) for _ in range(model.sizes.n_layers)]
    hook_sets: list[list[tuple[str, Any]]] = [_record_streams(streams)]
    before, values = _other_values(model, trees, replacement, "hook_mlp_out", range(model.sizes.n_layers))
    for layer, stream in enumerate(streams):
        hook_sets.append([*_start_at(layer, Patch(stream)), (f"blocks.{layer}.hook_mlp_out", _in_place(values[layer]))])
    passes, read = log_likelihood_passes(model, trees, hook_sets)
    passes[0].before += before
    return passes, read


Part = Literal["head", "expert"]


def places_of(model: Model, part: Part) -> tuple[str, list[int]]:
    """Return the hook at which heads or experts are seen and removed, and the layers that have it."""
    if part == "head":
        return "attn.hook_z", model.layers_with_heads
    return "mlp.hook_router", model.anatomy.layers_with_experts()


def without_each(
    model: Model, trees: Sequence[PrefixTree], part: Part, replacement: Replacement | None = None
) -> Prepared[Float[Tensor, "layer part"]]:
    """Return passes for the drop of the log-probability of each tree's first request without each head or expert.

    The heads, or experts, of a layer are run together, the batch repeated once for each. Heads can have other values
    than zeros in their place, those of a replacement.
    """
    hook, layers = places_of(model, part)
    n_parts = model.sizes.n_heads if part == "head" else model.sizes.n_experts
    streams = [RecordValue(returns=False) for _ in range(model.sizes.n_layers)]
    copies = list(trees) * n_parts
    positions, repeated = logit_positions(trees, model.device), logit_positions(copies, model.device)
    before, values = _other_values(model, trees, replacement, hook, layers)
    with torch.no_grad():
        passes = [tree_pass(model, trees, positions, _record_streams(streams), TargetLogProbabilities(positions))]
        passes[0].before += before
        for layer in layers:
            start = _start_at(layer, Patch(streams[layer], n_parts))
            without = _silence_each if (value := values[layer]) is None else PutEach(value)
            hooks = [*start, (f"blocks.{layer}.{hook}", without)]
            passes.append(tree_pass(model, copies, repeated, hooks, TargetLogProbabilities(repeated)))
        share_inputs(passes[1:])

    def read(results: Sequence[Any]) -> list[Tensor]:
        whole = _first_log_p(trees, results[0])
        without = [_first_log_p(copies, result).view(n_parts, len(trees)) for result in results[1:]]
        drops = torch.stack([(whole - values).T for values in without], dim=1)
        return list(over_all_layers(model, drops, 1, layers))

    return passes, read


def _other_values(
    model: Model, trees: Sequence[PrefixTree], replacement: Replacement | None, hook: str, layers: Sequence[int]
) -> tuple[list[ForwardPass], dict[int, Values]]:
    """Return the values in the place of each layer's parts, and the passes over other rows that record them."""
    if replacement is None:
        return [], dict.fromkeys(layers)
    means = replacement.heads if hook == "attn.hook_z" else replacement.ffns
    if means is not None or replacement.rows is None:
        return [], {layer: None if means is None else means[layer] for layer in layers}
    rows = [torch.tensor(row) for row in replacement.rows([tree.ids for tree in trees])]
    recorders = {layer: RecordValue(returns=False) for layer in layers}
    hooks = [(f"blocks.{layer}.{hook}", recorder) for layer, recorder in recorders.items()]
    return [model.pass_until_last(pad(rows, model.device), hooks)], {**recorders}


def _in_place(values: Values) -> Zero | Put | Patch:
    """Return the hook that puts values into the place of a feed-forward network's output."""
    if values is None:
        return Zero()
    return Patch(values) if isinstance(values, RecordValue) else Put(values)


def _first_log_p(trees: Sequence[PrefixTree], result: Any) -> Float[Tensor, " tree"]:
    """Return the log-probability of each tree's first request."""
    return torch.tensor([values[0].log_p for values in sum_by_request(trees, *result)])


def _record_streams(streams: Sequence[RecordValue]) -> list[tuple[str, Any]]:
    """Return hooks that record the residual stream in front of every layer."""
    return [(f"blocks.{layer}.hook_resid_pre", stream) for layer, stream in enumerate(streams)]


def _start_at(layer: int, patch: Patch) -> list[tuple[str, Any]]:
    """Return hooks that leave out all layers before this one and begin with a recorded residual stream."""
    return [(f"blocks.{earlier}.skip", patch) for earlier in range(layer)]


@runs_remotely
def _silence_each(value: Tensor, hook: Hook) -> Tensor:
    """Set head (or expert) 0 to zero in the first copy of the batch, 1 in the second, and so on."""
    n_parts = value.shape[2]
    factors = 1 - torch.eye(n_parts, dtype=value.dtype, device=value.device)
    factors = factors.repeat_interleave(len(value) // n_parts, dim=0)[:, None]
    return value * (factors if value.dim() == 3 else factors[..., None])


@runs_remotely
class PutEach:
    """Replaces the z of head 0 in the first copy of the batch, that of head 1 in the second, and so on.

    Args:
        values: The means, [head, d_head]; or the hook that recorded z in the batch's other rows.
    """

    def __init__(self, values: Tensor | RecordValue) -> None:
        self.values = values

    def __call__(self, z: Tensor, hook: Hook) -> Tensor:
        """Return z, [head · batch, pos, head, d_head], with one head replaced in each copy."""
        n_heads, values = z.shape[2], self.values
        if isinstance(values, Recorder):
            values = values.records[0].repeat(n_heads, 1, 1, 1)
        each = torch.eye(n_heads, dtype=torch.bool, device=z.device).repeat_interleave(len(z) // n_heads, dim=0)
        return torch.where(each[:, None, :, None], values[..., : z.shape[-1]].to(z.device, z.dtype), z)
