"""Heads and feed-forward networks that are removed from a model, as masks."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor

from headcount.results import InputError
from headcount.tracing.architectures.sizes import Sizes

HeadSet = Bool[Tensor, "layer head"] | Iterable[tuple[int, int]] | Any
LayerSet = Bool[Tensor, " layer"] | Iterable[int] | Any


@dataclass(frozen=True)
class Removed:
    """Masks of the removed parts: True where a part is removed."""

    heads: Bool[Tensor, "layer head"]
    ffns: Bool[Tensor, " layer"]

    @classmethod
    def of(cls, sizes: Sizes, heads: HeadSet | None = None, ffns: LayerSet | None = None) -> "Removed":
        """Read the parts to remove: a mask, or the parts themselves ([(18, 6)] for head 6 of layer 18; [3, 5]).

        Raises:
            InputError: A mask has another shape than the model, or a part does not exist.
        """
        return cls(_mask("heads", heads, (sizes.n_layers, sizes.n_heads)), _mask("ffns", ffns, (sizes.n_layers,)))

    def __or__(self, other: "Removed") -> "Removed":
        return Removed(self.heads | other.heads, self.ffns | other.ffns)


def mark_pruned(hf: Any, removed: Removed) -> None:
    """Record on a transformers model that these parts were pruned from its weights."""
    hf.headcount_removed = removed


def pruned_parts(hf: Any) -> Removed | None:
    """Return the parts that were pruned from a transformers model's weights; None if it is whole."""
    removed: Removed | None = getattr(hf, "headcount_removed", None)
    return removed


def _mask(name: str, parts: Any, shape: tuple[int, ...]) -> Tensor:
    """Return the mask of a set of parts."""
    mask = torch.zeros(shape, dtype=torch.bool, device="cpu")
    if parts is None:
        return mask
    expected = f"{name} must be a boolean mask of shape {list(shape)} or the parts to remove"
    try:
        values = torch.as_tensor(parts if hasattr(parts, "dtype") else list(parts), device="cpu")
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{expected}, not {parts!r}") from error
    if values.dtype == torch.bool:
        if values.shape != mask.shape:
            raise InputError(f"{expected}, not a mask of shape {list(values.shape)}")
        return values.clone()
    if values.numel() == 0:
        return mask
    if values.is_floating_point() or values.shape[1:] != (len(shape),)[: len(shape) - 1]:
        raise InputError(f"{expected}, such as {[(0, 1)] if len(shape) == 2 else [0, 1]}, not {parts!r}")
    for part in values.reshape(-1, len(shape)).tolist():
        if not all(0 <= index < size for index, size in zip(part, shape, strict=True)):
            raise InputError(f"{name} to remove must lie within {list(shape)}, counted from 0, not {part}")
        mask[tuple(part)] = True
    return mask
