"""Residual streams that wait for their next layer: in memory while they fit there, then on disk."""

import tempfile
from collections.abc import Hashable

import torch
from torch import Tensor

from headcount.results import InputError


class Residuals:
    """Tensors by key, of which those beyond a limit are kept in files that vanish with the process.

    Args:
        limit: Bytes that are held in memory. Files go where temporary ones go (the variable TMPDIR).

    Attributes:
        spilled: The most bytes that were on disk at once.
    """

    def __init__(self, limit: int) -> None:
        self.limit, self.spilled = limit, 0
        self._held: dict[Hashable, tuple[Tensor, bool]] = {}
        self._in_memory = self._on_disk = 0

    def __setitem__(self, key: Hashable, value: Tensor) -> None:
        """Keep a tensor in place of what had this key.

        Raises:
            InputError: There is no room on the disk either.
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
                f"{value.nbytes / 2**20:.0f} MiB of the residual stream cannot wait in {tempfile.gettempdir()} "
                f"({error.strerror}): allow more memory, fewer sequences, or set TMPDIR to a larger disk"
            ) from error
        self._on_disk += value.nbytes
        self.spilled = max(self.spilled, self._on_disk)

    def __getitem__(self, key: Hashable) -> Tensor:
        """The tensor; what is on disk is read when its values are looked at."""
        return self._held[key][0]

    def drop(self, key: Hashable) -> None:
        """Forget a tensor, if it is there."""
        if key in self._held:
            value, on_disk = self._held.pop(key)
            if on_disk:
                self._on_disk -= value.nbytes
            else:
                self._in_memory -= value.nbytes


def _on_disk(value: Tensor) -> Tensor:
    """A copy in a file without a name, which is gone with the tensor."""
    with tempfile.NamedTemporaryFile(prefix="headcount-", suffix=".residual") as file:
        # Written rather than copied into the mapping: there a full disk kills the process, here it is an error.
        file.write(value.contiguous().flatten().view(torch.uint8).numpy().data)
        file.flush()
        return torch.from_file(file.name, shared=True, size=value.numel(), dtype=value.dtype).view(value.shape)
