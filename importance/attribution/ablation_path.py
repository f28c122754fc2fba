"""The path from a part's output to what ablation puts in its place, along which gradients are taken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from headcount.importance.likelihoods.prefix_tree import PrefixTree
from headcount.remote_code import runs_remotely
from headcount.tracing import Model
from headcount.tracing.internal import ForwardPass, RecordValue, Replacement, pad

Part = Literal["head", "expert", "ffn"]

Values = Tensor | RecordValue | None
"""The replacement r of z in one layer: means, [head, d_head] or [d_model]; the hook that records it; or zero."""


@dataclass(frozen=True)
class AblationPath:
    """The parts, the replacement r of their output z, and the number of points between them.

    Attributes:
        part: `head` takes each head's z, `expert` each expert's weight, `ffn` what each network adds to the residual
            stream.
        steps: The number of points r + α(z - r), α = 1/steps, 2/steps, ..., 1, at which gradients are taken.
        replacement: r; None for zero.
    """

    part: Part = "head"
    steps: int = 1
    replacement: Replacement | None = None

    def values(self, model: Model, trees: Sequence[PrefixTree]) -> tuple[list[ForwardPass], dict[int, Values]]:
        """Return the passes over other rows that record r for a batch, and r of each layer that has these parts."""
        hook, layers = places_of(model, self.part)
        if self.replacement is None:
            return [], dict.fromkeys(layers)
        means = self.replacement.ffns if self.part == "ffn" else self.replacement.heads
        if means is not None or self.replacement.rows is None:
            return [], {layer: None if means is None else means[layer] for layer in layers}
        recorders = {layer: RecordValue(returns=False) for layer in layers}
        places = [(f"blocks.{layer}.{hook}", recorder) for layer, recorder in recorders.items()]
        rows = pad([torch.tensor(row) for row in self.replacement.rows([tree.ids for tree in trees])], model.device)
        return [model.pass_until_last(rows, places)], {**recorders}


FROM_ZERO = AblationPath()


def places_of(model: Model, part: Part) -> tuple[str, list[int]]:
    """Return the hook at which parts are seen and ablated, and the layers that have it."""
    if part == "head":
        return "attn.hook_z", model.layers_with_heads
    if part == "expert":
        return "mlp.hook_router", model.anatomy.layers_with_experts()
    return "hook_mlp_out", [n for n in range(model.sizes.n_layers) if f"blocks.{n}.hook_mlp_out" in model.hooks]


def n_parts(model: Model, part: Part) -> int:
    """Return the number of parts of a layer."""
    return {"head": model.sizes.n_heads, "expert": model.sizes.n_experts, "ffn": 1}[part]


@runs_remotely
def in_place_of(z: Tensor, values: Values) -> Tensor:
    """Return r in z's number format, in a shape that fits that of z."""
    if values is None:
        return torch.zeros_like(z)
    if isinstance(values, Tensor):
        return values[..., : z.shape[-1]].to(z)  # it may have more columns, as `Put` takes them
    (record,) = values.records
    return record.to(z)
