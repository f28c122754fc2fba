"""A tensor in a file, and its reading into memory: past the page cache, where the file system supports that.

A checkpoint larger than memory then leaves nothing behind in the page cache: each byte is read once even if the cache
is small, nothing of other processes is pushed out of it, and the processor copies nothing.
"""

import io
import os
from pathlib import Path

import torch
from torch import Tensor

PAGE = 4096
"""The unit of such reads, in bytes: of the offset in the file, of the address in memory, and of the length."""


class StoredTensor:
    """A tensor in a file.

    Args:
        path: The file.
        offset: The byte at which it begins.
        like: A tensor of its number format, shape and strides; its values play no role.

    Attributes:
        dtype: Its number format.
        shape: Its shape.
        nbytes: Its size in bytes.
        page_bytes: The size in bytes of all pages that it touches: the memory that a read needs.
    """

    def __init__(self, path: Path, offset: int, like: Tensor) -> None:
        self.path, self.dtype, self.shape, self.nbytes = path, like.dtype, like.shape, like.nbytes
        self._strides = like.stride()
        elements = 1 + sum((size - 1) * step for size, step in zip(self.shape, self._strides, strict=True))
        self._begin, self._first = offset // PAGE * PAGE, offset % PAGE
        self._length = self._first + elements * self.dtype.itemsize
        self.page_bytes = -(-self._length // PAGE) * PAGE

    def read(self, memory: Tensor) -> Tensor:
        """Read the tensor into memory.

        Args:
            memory: Memory from `pages`, of `page_bytes` bytes or more.

        Returns:
            The tensor, whose values are in this memory.

        Raises:
            OSError: The file cannot be read, or ends too early.
        """
        target = memory[: self.page_bytes].numpy().data
        try:
            with open(self.path, "rb", buffering=0, opener=_past_the_cache) as file:
                self._fill(target, file)
        except OSError:  # the file system may not support it
            with open(self.path, "rb", buffering=0) as file:
                self._fill(target, file)
                if hasattr(os, "posix_fadvise"):
                    os.posix_fadvise(file.fileno(), self._begin, self.page_bytes, os.POSIX_FADV_DONTNEED)
        raw = memory[self._first : self._length]
        if raw.storage_offset() % self.dtype.itemsize:  # in safetensors a tensor may begin at any byte
            raw = raw.clone()
        return raw.view(self.dtype).as_strided(self.shape, self._strides)

    def equals(self, other: "StoredTensor") -> bool:
        """Return True if another tensor has the same bytes; little of either is in memory at a time."""
        if (self.dtype, self.shape, self._strides) != (other.dtype, other.shape, other._strides):
            return False
        left = self._length - self._first
        with open(self.path, "rb") as file, open(other.path, "rb") as other_file:
            file.seek(self._begin + self._first)
            other_file.seek(other._begin + other._first)
            while left > 0:
                size = min(left, 256 * PAGE)
                if file.read(size) != other_file.read(size):
                    return False
                left -= size
        return True

    def _fill(self, target: memoryview, file: io.FileIO) -> None:
        file.seek(self._begin)
        done = 0
        while done < self._length:  # the last page of a file may be incomplete
            count = file.readinto(target[done:])
            if not count:
                raise OSError(f"it ends after {self._begin + done} bytes")
            done += count


def pages(size: int) -> Tensor:
    """Return memory of `size` bytes that begins at a page's address."""
    memory = torch.empty(size + PAGE, dtype=torch.uint8)
    return memory[-memory.data_ptr() % PAGE :][:size]


def _past_the_cache(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_DIRECT", 0))
