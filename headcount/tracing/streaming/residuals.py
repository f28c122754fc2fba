"""Residual streams between layers: in memory as long as they fit, then on disk."""

import tempfile
from collections.abc import Hashable

import torch
from torch import Tensor

from headcount.results import InputError


class Residuals:
    """Tensors by key; beyond a limit they are stored in files that vanish with the process.

    Args:
        limit: The number of bytes to hold in memory. Files are in the folder of temporary files (the variable TMPDIR).

    Attributes:
        spilled: The largest number of bytes that were on disk at once.
    """

    def __init__(self, limit: int) -> None:
        self.limit, self.spilled = limit, 0
        self._held: dict[Hashable, tuple[Tensor, bool]] = {}
        self._in_memory = self._on_disk = 0

    def __setitem__(self, key: Hashable, value: Tensor) -> None:
        """Store a tensor, in place of an earlier one with this key.

        Raises:
            InputError: The disk is full as well.
        """
        self.drop(key)
        if self._in_memory + value.nbytes <= self.limit:
            self._in_memory += value.nbytes
            self._held[key] = value, False
            return
        try:
            self._held[key] = _on_disk(value), True
        except OSError as error:
            raise InputError(
                f"{value.nbytes / 2**20:.0f} MiB of the residual stream cannot be stored in {tempfile.gettempdir()} "
                f"({error.strerror}): allow more memory, fewer sequences, or set TMPDIR to a larger disk"
            ) from error
        self._on_disk += value.nbytes
        self.spilled = max(self.spilled, self._on_disk)

    def __getitem__(self, key: Hashable) -> Tensor:
        """Return the tensor; one on disk is read when its values are used."""
        return self._held[key][0]

    def drop(self, key: Hashable) -> None:
        """Drop a tensor, if it is there."""
        if key in self._held:
            value, on_disk = self._held.pop(key)
            if on_disk:
                self._on_disk -= value.nbytes
            else:
                self._in_memory -= value.nbytes


def _on_disk(value: Tensor) -> Tensor:
    """Return a copy in a file without a name, which vanishes with the tensor."""
    with tempfile.NamedTemporaryFile(prefix="headcount-", suffix=".residual") as file:
        # Written rather than copied into the mapping: there, a full disk would kill the process; here it is an error.
        file.write(value.contiguous().flatten().view(torch.uint8).numpy().data)
        file.flush()
        return torch.from_file(file.name, shared=True, size=value.numel(), dtype=value.dtype).view(value.shape)
