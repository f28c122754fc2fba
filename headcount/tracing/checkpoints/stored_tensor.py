"""A tensor in a file, and how it comes into memory: past the page cache, where the file system can do that.

Read like this, a checkpoint larger than memory leaves nothing behind in the page cache: each byte is read once, also
where the cache is small, nothing that others have there is pushed out, and the processor copies nothing.
"""

import io
import os
from pathlib import Path

import torch
from torch import Tensor

PAGE = 4096
"""What such reads are counted in: in the file, in memory and in length."""


class Stored:
    """A tensor that lies in a file.

    Args:
        path: The file.
        offset: The byte that it begins at.
        like: A tensor of its number format, shape and strides; its values play no role.

    Attributes:
        dtype: Its number format.
        shape: Its shape.
        nbytes: Its size.
        room: The bytes of memory that it takes to read it: those of all pages that it lies in.
    """

    def __init__(self, path: Path, offset: int, like: Tensor) -> None:
        self.path, self.dtype, self.shape, self.nbytes = path, like.dtype, like.shape, like.nbytes
        self._strides = like.stride()
        elements = 1 + sum((size - 1) * step for size, step in zip(self.shape, self._strides, strict=True))
        self._begin, self._first = offset // PAGE * PAGE, offset % PAGE
        self._length = self._first + elements * self.dtype.itemsize
        self.room = -(-self._length // PAGE) * PAGE

    def read(self, memory: Tensor) -> Tensor:
        """Read it.

        Args:
            memory: `room` bytes, or more, of what `pages` has given.

        Returns:
            The tensor, whose values are in this memory.

        Raises:
            OSError: The file cannot be read, or ends too early.
        """
        into = memory[: self.room].numpy().data
        try:
            with open(self.path, "rb", buffering=0, opener=_past_the_cache) as file:
                self._fill(into, file)
        except OSError:  # not every file system can
            with open(self.path, "rb", buffering=0) as file:
                self._fill(into, file)
                if hasattr(os, "posix_fadvise"):
                    os.posix_fadvise(file.fileno(), self._begin, self.room, os.POSIX_FADV_DONTNEED)
        raw = memory[self._first : self._length]
        if raw.storage_offset() % self.dtype.itemsize:  # safetensors may begin anywhere
            raw = raw.clone()
        return raw.view(self.dtype).as_strided(self.shape, self._strides)

    def equals(self, other: "Stored") -> bool:
        """Whether another tensor has the same bytes; little of either is in memory at a time."""
        if (self.dtype, self.shape, self._strides) != (other.dtype, other.shape, other._strides):
            return False
        left = self._length - self._first
        with open(self.path, "rb") as mine, open(other.path, "rb") as theirs:
            mine.seek(self._begin + self._first)
            theirs.seek(other._begin + other._first)
            while left > 0:
                size = min(left, 256 * PAGE)
                if mine.read(size) != theirs.read(size):
                    return False
                left -= size
        return True

    def _fill(self, into: memoryview, file: io.FileIO) -> None:
        file.seek(self._begin)
        done = 0
        while done < self._length:  # the last page of a file may be cut short
            count = file.readinto(into[done:])
            if not count:
                raise OSError(f"it ends after {self._begin + done} bytes")
            done += count


def pages(size: int) -> Tensor:
    """Memory of so many bytes that begins with a page."""
    memory = torch.empty(size + PAGE, dtype=torch.uint8)
    return memory[-memory.data_ptr() % PAGE :][:size]


def _past_the_cache(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_DIRECT", 0))
