"""Forward passes that leave out parts: each layer's feed-forward network, or each of some sets of heads.

Below the parts that are left out everything is as in the whole model, so each run begins at their layer, with the
residual stream of the whole model's run. The hooks travel to wherever the model is (see `headcount.remote_code`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from headcount.importance.attribution.ablation_path import AblationPath, Part, Values, in_place_of, n_parts, places_of
from headcount.importance.likelihoods.log_likelihoods import LogLikelihood, log_likelihood_passes, sum_by_request
from headcount.importance.likelihoods.prefix_tree import PrefixTree
from headcount.importance.likelihoods.tree_passes import (
    TargetLogProbabilities,
    logit_positions,
    tree_pass,
)
from headcount.remote_code import runs_remotely
from headcount.tracing import Hook, Model
from headcount.tracing.internal import (
    Patch,
    Prepared,
    Put,
    RecordValue,
    Replacement,
    Zero,
)


def without_each_ffn(
    model: Model, trees: Sequence[PrefixTree], replacement: Replacement | None = None
) -> Prepared[list[list[LogLikelihood]]]:
    """Return passes for the log-likelihoods of each tree with all parts, then without the FFN of each layer in turn."""
    streams = [RecordValue(returns=False) for _ in range(model.sizes.n_layers)]
    hook_sets: list[list[tuple[str, Any]]] = [record_streams(streams)]
    before, values = AblationPath("ffn", replacement=replacement).values(model, trees)
    for layer in model.anatomy.layers_with_ffns():
        hook_sets.append(
            [*start_at(layer, Patch(streams[layer])), (f"blocks.{layer}.hook_mlp_out", _in_place(values.get(layer)))]
        )
    passes, read = log_likelihood_passes(model, trees, hook_sets)
    passes[0].before += before
    return passes, read


Sets = Sequence[Sequence[tuple[int, int]]]
"""Sets of parts that are ablated together, each part as (layer, number)."""


def without_sets(
    model: Model, trees: Sequence[PrefixTree], sets: Sets, path: AblationPath
) -> Prepared[Float[Tensor, " set"]]:
    """Return passes for the drop of the log-probability of each tree's first request without each set of parts.

    Sets that begin in one layer are run together, the batch repeated once for each, at most as many as a layer has
    parts.

    Args:
        model: The model.
        trees: The batch.
        sets: Sets of parts.
        path: The kind of parts, and their replacements.
    """
    before, values = path.values(model, trees)
    streams = [RecordValue(returns=False) for _ in range(model.sizes.n_layers)]
    positions = logit_positions(trees, model.device)
    chunks = _sets_by_layer(model, sets, path.part)
    with torch.no_grad():
        passes = [tree_pass(model, trees, positions, record_streams(streams), TargetLogProbabilities(positions))]
        passes[0].before += before
        for chunk in chunks:
            chosen = [sets[index] for index in chunk]
            first = min(layer for layer, _ in chosen[0])
            start = start_at(first, Patch(streams[first], len(chunk)))
            copies = list(trees) * len(chunk)
            repeated = logit_positions(copies, model.device)
            hooks = [*start, *_ablations(model, chosen, path.part, values)]
            passes.append(tree_pass(model, copies, repeated, hooks, TargetLogProbabilities(repeated)))

    def read(results: Sequence[Any]) -> list[Tensor]:
        whole, *without = results
        log_p = _first_log_p(trees, whole)
        drops = torch.zeros(len(trees), len(sets))
        for chunk, result in zip(chunks, without, strict=True):
            drops[:, chunk] = (log_p - _first_log_p(list(trees) * len(chunk), result).view(len(chunk), -1)).T
        return list(drops)

    return passes, read


def _sets_by_layer(model: Model, sets: Sets, part: Part) -> list[list[int]]:
    """Return the numbers of the sets that are run together: those that begin in one layer."""
    by_layer: dict[int, list[int]] = {}
    for number, members in enumerate(sets):
        by_layer.setdefault(min(layer for layer, _ in members), []).append(number)
    most = n_parts(model, part)
    return [numbers[at : at + most] for numbers in by_layer.values() for at in range(0, len(numbers), most)]


def _ablations(model: Model, sets: Sets, part: Part, values: Mapping[int, Values]) -> list[tuple[str, Any]]:
    """Return hooks that ablate the first set in the first copy of a batch, the second in the second, and so on."""
    hook, _ = places_of(model, part)
    masks: dict[int, Tensor] = {}
    for copy, members in enumerate(sets):
        for layer, number in members:
            masks.setdefault(layer, torch.zeros(len(sets), n_parts(model, part), dtype=torch.bool))[copy, number] = True
    return [(f"blocks.{layer}.{hook}", AblateSets(mask, values[layer])) for layer, mask in masks.items()]


def _in_place(values: Values) -> Zero | Put | Patch:
    """Return the hook that puts values into the place of a feed-forward network's output."""
    if values is None:
        return Zero()
    return Patch(values) if isinstance(values, RecordValue) else Put(values)


def _first_log_p(trees: Sequence[PrefixTree], result: Any) -> Float[Tensor, " tree"]:
    """Return the log-probability of each tree's first request."""
    return torch.tensor([values[0].log_p for values in sum_by_request(trees, *result)])


def record_streams(streams: Sequence[RecordValue]) -> list[tuple[str, Any]]:
    """Return hooks that record the residual stream in front of every layer."""
    return [(f"blocks.{layer}.hook_resid_pre", stream) for layer, stream in enumerate(streams)]


def start_at(layer: int, patch: Patch) -> list[tuple[str, Any]]:
    """Return hooks that leave out all layers before this one and begin with a recorded residual stream."""
    return [(f"blocks.{earlier}.skip", patch) for earlier in range(layer)]


@runs_remotely
class AblateSets:
    """Ablates parts of a layer, other ones in each copy of the batch.

    Args:
        mask: True for the ablated parts, [copy, part].
        values: The values in their place.
    """

    def __init__(self, mask: Tensor, values: Values) -> None:
        self.mask, self.values = mask, values

    def __call__(self, value: Tensor, hook: Hook) -> Tensor:
        """Return the value without the parts."""
        copies = value.unflatten(0, (len(self.mask), -1))
        mask = self.mask.to(value.device)[:, None, None]
        mask = mask if value.dim() == 3 else mask[..., None]
        if self.values is None:
            return copies.masked_fill(mask, 0.0).flatten(0, 1)
        return torch.where(mask, in_place_of(copies[0], self.values), copies).flatten(0, 1)
