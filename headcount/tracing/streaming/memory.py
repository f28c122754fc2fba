"""The memory budget of a streamed run: the memory that is left, and estimates of what a pass takes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import psutil  # type: ignore[import-untyped]

from headcount.results import InputError
from headcount.tracing.hooks.hook import SelectPositions

if TYPE_CHECKING:
    from headcount.tracing.architectures.sizes import Sizes
    from headcount.tracing.hooks.passes import ForwardPass
    from headcount.tracing.streaming.blocks import Blocks

_UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_UNITS |= {"KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}
_FEWEST = 64
"""The number of tokens that must fit at a time."""
_BESIDE = 256 << 20
"""Bytes for tensors that measurements hold beside a pass; copying's logits take most."""


class MemoryBudget:
    """The memory that a process may hold, and its parts.

    Of the memory that is left for passes, a quarter is for residual streams between blocks, a half for the batch in a
    block, and a quarter for what the estimates miss.

    Args:
        memory: The number of bytes that this process may hold.
        blocks: The blocks: memory for two of them is taken.
        sizes: The sizes of the model.

    Raises:
        InputError: The memory is too little for two blocks and a few tokens.
    """

    def __init__(self, memory: int, blocks: Blocks, sizes: Sizes) -> None:
        self.memory, self._blocks, self._sizes = memory, blocks, sizes
        least = 4 * _FEWEST * self._per_token()
        if (left := self.left()) < least:
            raise InputError(
                f"memory of {memory / 2**30:.2f} GiB is too little: this process, the model's embeddings, two "
                f"blocks and {_FEWEST} tokens take {(memory - left + least) / 2**30:.2f} GiB"
            )

    def left(self) -> int:
        """Return the number of bytes that are left for passes, after blocks and measurements."""
        return self.memory - held_memory() - self._blocks.bytes_still_needed() - _BESIDE

    def waiting(self) -> int:
        """Return the number of bytes for residual streams between blocks."""
        return self.left() // 4

    def fits(self, rows: int, length: int) -> bool:
        """Return True if `rows` sequences of `length` tokens may pass through a block at once."""
        return rows == 1 or rows * length * self._per_token() <= self.left() // 2

    def check(self, forward: ForwardPass) -> None:
        """Refuse a pass that does not fit.

        Raises:
            InputError: Its batch, or its single sequence, takes too much memory.
        """
        rows, length = forward.inputs["input_ids"].shape
        takes, left = self._takes(forward), self.left()
        if takes > left * 3 // 4:
            raise InputError(
                f"{rows} x {length} tokens at once take about {takes / 2**30:.2f} GiB; memory of "
                f"{self.memory / 2**30:.2f} GiB has {max(0, left) / 2**30:.2f} left for them: run fewer or shorter "
                f"sequences at a time, or allow {(self.memory - left + takes * 4 // 3) / 2**30:.2f} GiB"
            )

    def _takes(self, forward: ForwardPass) -> int:
        rows, length = forward.inputs["input_ids"].shape
        hooks = [hook for stop in forward.stops for hook in stop.hooks]
        patterns = any(hook.detail in ("scores", "pattern") for hook in hooks)
        in_block = rows * length * self._token_in_block()
        in_block += 3 * patterns * rows * self._sizes.n_heads * length**2 * 4
        selected = [len(hook.function.row) for hook in hooks if isinstance(hook.function, SelectPositions)]
        places = 0 if forward.only_hooks else selected[0] if selected else rows * length
        logits = self._sizes.vocab * self._blocks.dtype.itemsize if forward.finish is None else self._token_at_logits()
        return int(max(in_block, places * logits))

    def _per_token(self) -> int:
        return max(self._token_in_block(), self._token_at_logits())

    def _token_in_block(self) -> int:
        """Return an estimate of the bytes of a token inside a block."""
        return (10 * self._sizes.d_model + 3 * self._sizes.d_mlp) * self._blocks.dtype.itemsize

    def _token_at_logits(self) -> int:
        """Return the bytes of a token's logits, which are converted to float32."""
        return self._sizes.vocab * (self._blocks.dtype.itemsize + 2 * 4)


def held_memory() -> int:
    """Return the number of bytes that this process holds, without mapped files' pages, which the system may reclaim."""
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("RssAnon:"))
        return int(line.split()[1]) * 1024
    return int(psutil.Process().memory_info().rss)


def as_bytes(memory: int | str | None) -> int:
    """Return an amount of memory in bytes.

    Args:
        memory: A number of bytes, or a text like "4GiB"; None is half of the machine's memory.

    Raises:
        InputError: It is neither.
    """
    if memory is None:
        return int(psutil.virtual_memory().total) // 2
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", str(memory), re.IGNORECASE)
    if isinstance(memory, bool) or match is None or match[2].upper() not in _UNITS or not 0 < float(match[1]) < 1e15:
        raise InputError(f'memory must be a number of bytes, or such as "4GiB", not {memory!r:.40}')
    return int(float(match[1]) * _UNITS[match[2].upper()])
