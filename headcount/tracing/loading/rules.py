"""Rules that hooks must keep: values compared, and values of runs with edits."""

from collections.abc import Iterable

import torch
from torch import Tensor

from headcount.results import InputError
from headcount.tracing.cache import Cache
from headcount.tracing.hooks.hook import Hook, HookFunction, RecordValue
from headcount.tracing.hooks.modules import quantisation
from headcount.tracing.model import Model

# Relative to the largest magnitude compared: the check adds numbers in another order than the model.
TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-6}
# In half precision, single logits move by a fifth over thirty layers; relative to the norm of all of them. Quantised
# weights are mostly applied in half precision, whatever the others are.
_HALF_TOLERANCE = 0.2


def is_precise(model: Model) -> bool:
    """Return True if a model computes in full precision: neither in half, nor with quantised weights or activations."""
    return model.dtype in TOLERANCE and not quantisation(model.hf)


def require(model: Model, hook: str, rule: str, actual: Tensor, expected: Tensor) -> None:
    """Refuse a model whose hook breaks a rule.

    Raises:
        InputError: The values differ by more than rounding.
    """
    if not close(model, actual, expected):
        difference = float((actual.float() - expected.float()).abs().max())
        raise InputError(f"{model.name}: {hook}: {rule}; the difference is {difference:.3g}")


def close(model: Model, actual: Tensor, expected: Tensor) -> bool:
    """Return True if values differ by no more than rounding does in the model's number format."""
    difference, expected = actual.float() - expected.float(), expected.float()
    if is_precise(model):
        return bool(difference.abs().max() <= TOLERANCE[model.dtype] * expected.abs().max().clamp(min=1.0))
    return bool(difference.norm() <= _HALF_TOLERANCE * expected.norm().clamp(min=1.0))


def run_blocks(
    model: Model, tokens: Tensor, cache: Cache, layers: Iterable[int], edits: dict[str, HookFunction], names: list[str]
) -> dict[str, Tensor]:
    """Return values of a run with edits in some blocks, each of which begins with the residual stream of a plain run.

    So one run serves all of them: what is edited in one block does not reach the next.

    Args:
        model: The model.
        tokens: The tokens of the plain run.
        cache: Its residual streams.
        layers: The blocks; the others are skipped.
        edits: Hook functions, by names within a block; each block that has such a hook is edited.
        names: The values to return, of each block that has them, by names within a block.
    """
    chosen = list(layers)
    hooks: list[tuple[str, HookFunction]] = []
    recorders: dict[str, RecordValue] = {}
    for layer in range(max(chosen) + 1):
        block = f"blocks.{layer}."
        if layer not in chosen:
            hooks.append((f"{block}skip", _leave))
            continue
        hooks.append((f"{block}hook_resid_pre", Give(cache[f"{block}hook_resid_pre"])))
        hooks += [(block + name, edit) for name, edit in edits.items() if block + name in model.hooks]
        recorders |= {block + name: RecordValue() for name in names if block + name in model.hooks}
    model.run_until_last(tokens, [*hooks, *recorders.items()])
    return {name: recorder.records[0] for name, recorder in recorders.items()}


def start_at(layer: int, stream: Tensor) -> list[tuple[str, HookFunction]]:
    """Return hooks that skip the blocks before a layer, so that it reads the residual stream."""
    return [(f"blocks.{before}.skip", Give(stream)) for before in range(layer)]


class Give:
    """Puts a tensor in place of a value; one row may stand for all of a batch.

    Args:
        tensor: The tensor.
    """

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor

    def __call__(self, value: Tensor, hook: Hook) -> Tensor:
        """Return the tensor."""
        return self.tensor.expand_as(value).contiguous()


def _leave(value: Tensor, hook: Hook) -> None:
    """Leave a value."""


def give_ones(value: Tensor, hook: Hook) -> Tensor:
    """Return ones in place of a value."""
    return torch.ones_like(value)
