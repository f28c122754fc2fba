"""Heads and feed-forward networks that are removed from a model, as masks, and values in the place of their outputs."""

import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from headcount.results import InputError
from headcount.tracing.architectures.sizes import Sizes

HeadSet = Bool[Tensor, "layer head"] | Iterable[tuple[int, int]] | Any
LayerSet = Bool[Tensor, " layer"] | Iterable[int] | Any

AblationKind = Literal["zero", "mean", "resample", "patch"]
"""Zeros; the mean over reference examples; the value in another reference example; that in a counterfactual prompt."""

Row = tuple[int, ...]
"""The tokens of one sequence, as they are read."""


@dataclass(frozen=True)
class Removed:
    """Masks of the removed parts: True where a part is removed."""

    heads: Bool[Tensor, "layer head"]
    ffns: Bool[Tensor, " layer"]
    experts: Bool[Tensor, "layer expert"]

    @classmethod
    def of(
        cls,
        sizes: Sizes,
        heads: HeadSet | None = None,
        ffns: LayerSet | None = None,
        *,
        kv_groups: HeadSet | None = None,
        experts: HeadSet | None = None,
    ) -> "Removed":
        """Read the parts to remove: a boolean mask, or the parts themselves ([(18, 6)] for head 6 of layer 18; [3, 5]).

        Parts may be followed by a score, as in what `scores.top(3)` returns. A KV group goes with all heads that share
        its keys and values.

        Raises:
            InputError: A mask has another shape than the model, a part does not exist, or numbers 0 and 1 could be a
                mask as well as parts.
        """
        if experts is not None and not sizes.n_experts:
            raise InputError("the model has no mixture of experts, or one whose experts cannot be told apart")
        groups = _mask("kv_groups", kv_groups, (sizes.n_layers, sizes.n_kv_heads))
        return cls(
            _mask("heads", heads, (sizes.n_layers, sizes.n_heads))
            | groups.repeat_interleave(sizes.n_heads // sizes.n_kv_heads, dim=1),
            _mask("ffns", ffns, (sizes.n_layers,)),
            _mask("experts", experts, (sizes.n_layers, sizes.n_experts)),
        )

    def __or__(self, other: "Removed") -> "Removed":
        return Removed(self.heads | other.heads, self.ffns | other.ffns, self.experts | other.experts)


@dataclass(frozen=True, eq=False)
class Replacement:
    """The values in the place of ablated outputs: means, or those of other rows.

    Attributes:
        kind: The kind of ablation, other than `zero`.
        heads: The value of z at every position, for the kind `mean`; NaN for layers without heads.
        ffns: The value of a feed-forward network's output at every position, likewise.
        rows: Returns, for each row, another one of the same length, whose values take the places of the row's own,
            position by position; for the kinds `resample` and `patch`.
        record: The part of a result's provenance on the reference examples.
    """

    kind: AblationKind
    heads: Float[Tensor, "layer head d_head"] | None = None
    ffns: Float[Tensor, "layer d_model"] | None = None
    rows: Callable[[Sequence[Row]], list[Row]] | None = None
    record: dict[str, Any] = field(default_factory=dict)


def mark_pruned(hf: Any, removed: Removed) -> None:
    """Record on a transformers model that these parts were pruned from its weights."""
    hf.headcount_removed = removed


def mark_means(hf: Any, record: dict[str, Any]) -> None:
    """Record on a pruned transformers model that means stay in the place of parts, and their provenance."""
    hf.headcount_means = record


def means_of_pruned(hf: Any) -> dict[str, Any] | None:
    """Return the provenance of the means in a pruned model; None if its parts were removed by zeros."""
    record: dict[str, Any] | None = getattr(hf, "headcount_means", None)
    return record


def pruned_parts(hf: Any) -> Removed | None:
    """Return the parts that were pruned from a transformers model's weights; None if it is whole."""
    removed: Removed | None = getattr(hf, "headcount_removed", None)
    return removed


def _mask(name: str, parts: Any, shape: tuple[int, ...]) -> Tensor:
    """Return the mask of a set of parts: booleans are a mask, whole numbers are the parts themselves."""
    mask = torch.zeros(shape, dtype=torch.bool, device="cpu")
    if parts is None:
        return mask
    examples = [(0, 1)] if len(shape) == 2 else [0, 1]
    expected = f"{name} must be a boolean mask of shape {list(shape)} or the parts to remove, such as {examples}"
    if _is_boolean(parts):
        return _boolean_mask(parts, mask, expected)
    if _looks_like_mask(parts, shape):
        plain = "pairs as tuples" if len(shape) > 1 else "a list that names each layer once"
        raise InputError(
            f"{expected}, not 0 and 1 in the shape of a mask, which could be either: pass booleans, or {plain}"
        )
    for part in _part_numbers(parts, len(shape), expected):
        if not all(0 <= index < size for index, size in zip(part, shape, strict=True)):
            raise InputError(f"{name} to remove must lie within {list(shape)}, counted from 0, not {list(part)}")
        mask[part] = True
    return mask


def _boolean_mask(parts: Any, like: Tensor, expected: str) -> Tensor:
    try:
        given = torch.tensor(np.array(parts.tolist() if hasattr(parts, "dtype") else parts, dtype=bool), device="cpu")
    except ValueError as error:  # rows of several lengths
        raise InputError(f"{expected}, not {parts!r:.200}") from error
    if given.shape != like.shape:
        raise InputError(f"{expected}, not a mask of shape {list(given.shape)}")
    return given


def _is_boolean(parts: Any) -> bool:
    """Return True for booleans: an array or a tensor of them, or a list, nested or not."""
    if hasattr(parts, "dtype"):
        return str(parts.dtype) in ("torch.bool", "bool")
    if not isinstance(parts, list | tuple):
        return False
    return bool(parts) and all(_is_boolean(part) or isinstance(part, bool) for part in parts)


def _looks_like_mask(parts: Any, shape: tuple[int, ...]) -> bool:
    """Return True for whole numbers 0 and 1 in a mask's shape that are no plain set of parts.

    Pairs in tuples are parts, and so is a list that names each layer once; in a mask of 0 and 1 a number comes twice.
    """
    if isinstance(parts, list | tuple) and any(isinstance(part, tuple) for part in parts):
        return False
    try:
        values = np.asarray(parts.tolist() if hasattr(parts, "dtype") else parts)
    except (TypeError, ValueError):
        return False
    if values.shape != shape or values.dtype.kind not in "iu" or not np.isin(values, (0, 1)).all():
        return False
    return len(shape) > 1 or hasattr(parts, "dtype") or len(set(values.tolist())) < len(values)


def _part_numbers(parts: Any, axes: int, expected: str) -> Iterator[tuple[int, ...]]:
    """Yield the position of each part; the score that may follow it, as in what `scores.top` returns, is left out."""
    try:
        listed = parts.tolist() if hasattr(parts, "dtype") else list(parts)
        for part in listed:
            position = list(part) if isinstance(part, Sequence) else [part] if axes == 1 else list(part.tolist())
            if len(position) == axes + 1 and isinstance(position[-1], float):
                position.pop()
            if len(position) != axes or any(isinstance(index, bool) for index in position):
                raise TypeError(part)
            yield tuple(operator.index(index) for index in position)
    except (TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{expected}, not {parts!r:.200}") from error
