"""Forward passes that leave out one part at a time: each layer's feed-forward network, or each head.

Below the part that is left out everything is as in the whole model, so each run begins at its layer, with the residual
stream of the whole model's run. The hooks travel to wherever the model is (see `headcount.remote_code`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

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
from headcount.tracing.internal import Patch, Prepared, RecordValue, Zero, over_all_layers


def without_each_ffn(model: Model, trees: Sequence[PrefixTree]) -> Prepared[list[list[LogLikelihood]]]:
    """Return passes for the log-likelihoods of each tree with all parts, then without the FFN of layer 0, 1, ..."""
    streams = [RecordValue(returns=False) for _ in range(model.sizes.n_layers)]
    hook_sets: list[list[tuple[str, Any]]] = [_record_streams(streams)]
    for layer, stream in enumerate(streams):
        hook_sets.append([*_start_at(layer, Patch(stream)), (f"blocks.{layer}.hook_mlp_out", Zero())])
    return log_likelihood_passes(model, trees, hook_sets)


def without_each_head(model: Model, trees: Sequence[PrefixTree]) -> Prepared[Float[Tensor, "layer head"]]:
    """Return passes for the drop of the log-probability of each tree's first request without each head.

    The heads of a layer are run together, the batch repeated once for each.
    """
    n_heads = model.sizes.n_heads
    streams = [RecordValue(returns=False) for _ in range(model.sizes.n_layers)]
    copies = list(trees) * n_heads
    positions, repeated = logit_positions(trees, model.device), logit_positions(copies, model.device)
    with torch.no_grad():
        passes = [tree_pass(model, trees, positions, _record_streams(streams), TargetLogProbabilities(positions))]
        for layer in model.layers_with_heads:
            hooks = [
                *_start_at(layer, Patch(streams[layer], n_heads)),
                (f"blocks.{layer}.attn.hook_z", _silence_each_head),
            ]
            passes.append(tree_pass(model, copies, repeated, hooks, TargetLogProbabilities(repeated)))
        share_inputs(passes[1:])

    def read(results: Sequence[Any]) -> list[Tensor]:
        whole = _first_log_p(trees, results[0])
        without = [_first_log_p(copies, result).view(n_heads, len(trees)) for result in results[1:]]
        drops = torch.stack([(whole - values).T for values in without], dim=1)
        return list(over_all_layers(model, drops, dim=1))

    return passes, read


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
def _silence_each_head(z: Tensor, hook: Hook) -> Tensor:
    """Set head 0 to zero in the first copy of the batch, head 1 in the second, and so on."""
    n_heads = z.shape[2]
    factors = 1 - torch.eye(n_heads, dtype=z.dtype, device=z.device).repeat_interleave(len(z) // n_heads, dim=0)
    return z * factors[:, None, :, None]
