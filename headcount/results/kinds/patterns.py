"""The attention patterns of every head on one prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from headcount.remote_code import runs_remotely
from headcount.results.errors import InputError
from headcount.results.storage import checks, field_types
from headcount.results.storage.stored import Stored

LEVELS = 255
AXES = ("layer", "head", "query", "key")
ROUNDING = 1e-3  # a pattern in a short number format may lie as far beyond 0 and 1


@dataclass(frozen=True, eq=False, repr=False)
class Patterns(Stored):
    """The attention patterns of every head on one prompt, in 256 levels.

    `Patterns.of` makes them from attention as a model gives it.

    Attributes:
        weights: Attention times 255, rounded; 0 where the key comes after the query.
        tokens: The prompt, token by token, as text.
        definition: The prompt in a sentence.
        provenance: Everything that is needed to record them again, as JSON can hold it.

    Raises:
        InputError: A field is not what its annotation says, shapes do not fit each other, a query attends to a key
            after it, or `provenance` has no JSON form.
    """

    weights: UInt8[Tensor, "layer head query key"]
    tokens: tuple[str, ...]
    definition: str = ""
    provenance: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        field_types.check_fields(self)
        if not isinstance(self.weights, Tensor) or self.weights.dtype != torch.uint8:
            got = getattr(self.weights, "dtype", type(self.weights).__name__)
            raise InputError(f"weights: expected attention as whole numbers, uint8, got {got}; see Patterns.of")
        self._copy_fields()
        self._set("weights", self.weights.detach().to("cpu", copy=True).contiguous())
        checks.check_shape("weights", self.weights, AXES, (None, None, len(self.tokens), len(self.tokens)))
        if bool(self.weights.triu(1).any()):
            raise InputError("weights: expected a causal pattern, got attention to keys after their query")

    @classmethod
    def of(
        cls,
        attention: Float[Tensor, "layer head query key"] | Any,
        tokens: Sequence[str],
        definition: str = "",
        provenance: dict[str, Any] | None = None,
    ) -> Patterns:
        """Return the patterns of attention as a model gives it.

        Args:
            attention: Numbers from 0 to 1, as a tensor or array of any floating dtype; NumPy arrays and lists too.
            tokens: The prompt, token by token, as text.
            definition: The prompt in a sentence.
            provenance: Everything that is needed to record them again.

        Returns:
            The same attention in 256 levels: no entry is off by more than 0.002.

        Raises:
            InputError: The shape does not fit the tokens, or an entry is not finite, outside 0 to 1, or above the
                diagonal and not 0.
        """
        texts, values = checks.texts("tokens", tokens), checks.plain_tensor("attention", attention)
        checks.check_shape("attention", values, AXES, (None, None, len(texts), len(texts)))
        return cls(levels(values), texts, definition, provenance or {})

    @property
    def shape(self) -> tuple[int, int]:
        """The numbers of layers and heads."""
        return self.weights.shape[0], self.weights.shape[1]

    def values(self, layer: int, head: int) -> Float[Tensor, "query key"]:
        """Return the pattern of one head as numbers from 0 to 1, to within 0.002.

        Raises:
            InputError: The model has no such head.
        """
        n_layers, n_heads = self.shape
        if not (0 <= layer < n_layers and 0 <= head < n_heads):
            raise InputError(
                f"expected a layer from 0 to {n_layers - 1} and a head from 0 to {n_heads - 1}, got {layer} and {head}"
            )
        return self.weights[layer, head].float() / LEVELS

    def __repr__(self) -> str:
        n_layers, n_heads = self.shape
        return f"Patterns({self.definition or 'a prompt'}, {len(self.tokens)} tokens, {n_layers} × {n_heads} heads)"


@runs_remotely
def levels(attention: Float[Tensor, "*heads query key"]) -> UInt8[Tensor, "*heads query key"]:
    """Return attention from 0 to 1 in 256 levels.

    Raises:
        InputError: An entry is not finite, outside 0 to 1, or above the diagonal and not 0.
    """
    wrong = attention[~attention.isfinite() | (attention < -ROUNDING) | (attention > 1 + ROUNDING)]
    if wrong.numel():
        raise InputError(f"attention: expected numbers from 0 to 1, got {wrong.flatten()[0].item():g}")
    rounded = (attention.clamp(0, 1) * LEVELS).round().to(torch.uint8)
    if bool((attention.triu(1) > ROUNDING).any()):
        raise InputError("attention: expected a causal pattern [query, key], got attention to keys after their query")
    return rounded.tril()
