"""Removing heads and feed-forward networks from a running model."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool
from torch import Tensor

from results import InputError
from tracing.execute import Hooked
from tracing.hook_map import HookMap
from tracing.sizes import Sizes
from tracing.visits import Hook

if TYPE_CHECKING:
    from tracing.model import Model

HeadSet = Bool[Tensor, "layer head"] | Iterable[tuple[int, int]] | Any
LayerSet = Bool[Tensor, " layer"] | Iterable[int] | Any


@dataclass(frozen=True)
class Removed:
    """Which parts are gone: True where a part is removed."""

    heads: Bool[Tensor, "layer head"]
    ffns: Bool[Tensor, " layer"]

    @classmethod
    def of(cls, sizes: Sizes, heads: HeadSet | None = None, ffns: LayerSet | None = None) -> "Removed":
        """Read what is to be removed: a mask, or the parts themselves ([(18, 6)] for head 6 of layer 18; [3, 5]).

        Raises:
            InputError: A mask has another shape than the model, or a part does not exist.
        """
        return cls(_mask("heads", heads, (sizes.n_layers, sizes.n_heads)), _mask("ffns", ffns, (sizes.n_layers,)))

    def __or__(self, other: "Removed") -> "Removed":
        return Removed(self.heads | other.heads, self.ffns | other.ffns)

    def hooks(self, hook_map: HookMap) -> list[Hooked]:
        """The hooks that remove these parts: a head's z, and what a feed-forward network adds, become zero."""
        found: list[Hooked] = []
        for layer, gone in enumerate(self.heads):
            if gone.any():
                found.append((hook_map[f"blocks.{layer}.attn.hook_z"], _Zero(gone)))
        for layer in self.ffns.nonzero().flatten().tolist():
            found.append((hook_map[f"blocks.{layer}.hook_mlp_out"], _zero_all))
        return found


class _Zero:
    """A hook on z that silences heads; plain, since it travels (see `tracing.visits`)."""

    def __init__(self, gone: Bool[Tensor, " head"]) -> None:
        self.gone = gone

    def __call__(self, z: Tensor, hook: Hook) -> Tensor:
        return z.masked_fill(self.gone.to(z.device)[:, None], 0.0)


def _zero_all(value: Tensor, hook: Hook) -> Tensor:
    return torch.zeros_like(value)


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


def together(model: "Model", heads: HeadSet | None, ffns: LayerSet | None) -> Removed:
    """These parts and those that are removed at present.

    Raises:
        InputError: A mask's shape is not the model's, or a part does not exist; or the model is structurally pruned.
    """
    if model.pruned is not None:
        raise InputError(f"{model.name} is structurally pruned already: remove all parts at once from the whole model")
    removed = Removed.of(model.sizes, heads, ffns)
    return removed if model.removed is None else model.removed | removed


@contextmanager
def masked(model: "Model", heads: HeadSet | None = None, ffns: LayerSet | None = None) -> Iterator["Model"]:
    """Run a model with parts removed: every call of `model` inside the block is without them.

    Removing a head sets its output before W_O to zero (W_O's bias stays); removing a feed-forward network sets what it
    adds to the residual stream to zero. Blocks nest: the inner one removes its parts as well.

    Args:
        model: The model; it is as before when the block ends.
        heads: Mask [layer, head], True where removed, or pairs [(layer, head), ...].
        ffns: Mask [layer], True where removed, or layers.

    Raises:
        InputError: A mask's shape is not the model's, or a part does not exist; or the model is structurally pruned.
    """
    before = model.removed
    model.removed = together(model, heads, ffns)
    try:
        yield model
    finally:
        model.removed = before
