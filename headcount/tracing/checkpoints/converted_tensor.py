"""A parameter that is made of several tensors on disk, such as the experts' matrices of a mixture."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from headcount.tracing.checkpoints.stored_tensor import StoredTensor

Convert = Callable[[str, dict[str, list[Tensor]]], dict[str, Tensor]]
"""Turns tensors, by the pattern of their names, into parameters, by name; given the name under which they are kept."""


class ConvertedTensor:
    """A parameter that is made of several tensors on disk.

    Args:
        name: Its name.
        key: The name under which the tensors are kept, which that of a parameter made of the same ones may be.
        sources: The tensors, by the pattern of their names.
        convert: Turns them into parameters.

    Attributes:
        dtype: Its number format.
        shape: Its shape.
        nbytes: Its size in bytes.
        parts: The tensors, in order.
        page_bytes: The size in bytes of all pages that the tensors touch: the memory that a read needs.
    """

    def __init__(
        self, name: str, key: str, sources: Mapping[str, Sequence[StoredTensor]], convert: Convert, like: Tensor
    ) -> None:
        self.name, self._key, self._sources, self._convert = name, key, sources, convert
        self.dtype, self.shape, self.nbytes = like.dtype, like.shape, like.nbytes
        self.parts = [stored for tensors in sources.values() for stored in tensors]
        self.page_bytes = sum(stored.page_bytes for stored in self.parts)

    def join(self, values: Sequence[Tensor]) -> Tensor:
        """Return the parameter, made of the values of its parts; twice its size is taken in between."""
        left = iter(values)
        given = {pattern: [next(left) for _ in stored] for pattern, stored in self._sources.items()}
        return self._convert(self._key, given)[self.name]


def converted_tensors(
    key: str, sources: Mapping[str, Sequence[StoredTensor]], convert: Convert
) -> dict[str, ConvertedTensor]:
    """Return the parameters that tensors on disk become, by name; nothing is read."""
    empty = {
        pattern: [torch.empty(stored.shape, dtype=stored.dtype, device="meta") for stored in tensors]
        for pattern, tensors in sources.items()
    }
    return {name: ConvertedTensor(name, key, sources, convert, like) for name, like in convert(key, empty).items()}
