"""Check of a model that was cut: its blocks must add, and hand on, what they do under zero ablation."""

import torch

from headcount.results import InputError
from headcount.tracing.ablation.masks import masked
from headcount.tracing.hooks.hook import Hook, RecordValue
from headcount.tracing.model import Model
from headcount.tracing.removed_parts import Removed

_TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-4}
_HALF_TOLERANCE = 0.05
"""Relative to the norm of what is compared, which is of one block."""


def check_against_ablation(model: Model, small: Model, removed: Removed) -> None:
    """Compare a cut model with the whole one under zero ablation, block by block on the same residual stream.

    Args:
        model: The whole model.
        small: The cut one.
        removed: The parts that were taken out.

    Raises:
        InputError: The cut model does not run, or a block adds or hands on other values.
    """
    cut = [layer for layer in range(model.sizes.n_layers) if removed.heads[layer].any() or removed.ffns[layer]]
    streams, added = (
        [f"blocks.{layer}.{name}" for layer in cut for name in names]
        for names in (("hook_resid_pre",), ("hook_attn_out", "hook_mlp_out", "hook_resid_post"))
    )
    tokens = (torch.arange(3, 9, device=model.device) % model.sizes.vocab)[None]
    with torch.no_grad(), masked(model, removed.heads, removed.ffns):
        expected = model.run_with_cache(tokens, [*streams, *added])[1]
    recorders = {name: RecordValue() for name in added}
    replaced = [(name, _Give(expected[name])) for name in streams]
    try:
        small.run_until_last(tokens, [*replaced, *recorders.items()])
    except (RuntimeError, TypeError, ValueError, AttributeError, IndexError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"its modules do not run on the parts that are left ({reason})") from error
    tolerance = _TOLERANCE.get(model.dtype, _HALF_TOLERANCE)
    for name, recorder in recorders.items():
        actual, wanted = recorder.records[0].float(), expected[name].float()
        if not (actual - wanted).norm() <= tolerance * wanted.norm().clamp(min=1e-6):
            raise InputError(f"{name} would be another than under zero ablation")


class _Give:
    """Puts a value in the place of another."""

    def __init__(self, value: torch.Tensor) -> None:
        self.value = value

    def __call__(self, value: torch.Tensor, hook: Hook) -> torch.Tensor:
        return self.value
