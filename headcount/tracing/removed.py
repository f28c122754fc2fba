"""The heads and feed-forward networks that are removed from a model, as masks."""

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
    """Parts that are removed: True where a part is gone."""

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


def _mask(what: str, chosen: Any, shape: tuple[int, ...]) -> Tensor:
    mask = torch.zeros(shape, dtype=torch.bool, device="cpu")
    if chosen is None:
        return mask
    expected = f"{what} must be a boolean mask of shape {list(shape)} or the parts to remove"
    try:
        given = torch.as_tensor(chosen if hasattr(chosen, "dtype") else list(chosen), device="cpu")
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{expected}, not {chosen!r}") from error
    if given.dtype == torch.bool:
        if given.shape != mask.shape:
            raise InputError(f"{expected}, not a mask of shape {list(given.shape)}")
        return given.clone()
    if given.numel() == 0:
        return mask
    if given.is_floating_point() or given.shape[1:] != (len(shape),)[: len(shape) - 1]:
        raise InputError(f"{expected}, such as {[(0, 1)] if len(shape) == 2 else [0, 1]}, not {chosen!r}")
    for part in given.reshape(-1, len(shape)).tolist():
        if not all(0 <= index < size for index, size in zip(part, shape, strict=True)):
            raise InputError(f"{what} to remove must lie within {list(shape)}, counted from 0, not {part}")
        mask[tuple(part)] = True
    return mask
