"""Rules that hooks must keep: values compared, and values of runs with edits."""

import torch
from torch import Tensor

from headcount.results import InputError
from headcount.tracing.hooks.hook import Hook, HookFunction, RecordValue
from headcount.tracing.model import Model

# Relative to the largest magnitude compared: the check adds numbers in another order than the model.
TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-6}
# In half precision, single logits move by a fifth over thirty layers; relative to the norm of all of them.
_HALF_TOLERANCE = 0.2


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
    if model.dtype in TOLERANCE:
        return bool(difference.abs().max() <= TOLERANCE[model.dtype] * expected.abs().max().clamp(min=1.0))
    return bool(difference.norm() <= _HALF_TOLERANCE * expected.norm().clamp(min=1.0))


def run_and_record(
    model: Model, tokens: Tensor, layer: int, edits: dict[str, HookFunction], names: list[str], stream: Tensor
) -> list[Tensor]:
    """Return values inside a block of a run with edits, which begins there with the residual stream."""
    block = f"blocks.{layer}."
    recorders = {block + name: RecordValue() for name in names}
    edited = [(block + name, edit) for name, edit in edits.items()]
    model.run_until_last(tokens, [*start_at(layer, stream), *edited, *recorders.items()])
    return [recorder.records[0] for recorder in recorders.values()]


def start_at(layer: int, stream: Tensor) -> list[tuple[str, HookFunction]]:
    """Return hooks that skip the blocks before a layer, so that it reads the residual stream."""
    return [(f"blocks.{before}.skip", lambda value, hook: stream) for before in range(layer)]


def give_ones(value: Tensor, hook: Hook) -> Tensor:
    """Return ones in place of a value."""
    return torch.ones_like(value)
