"""Blocks of a model whose weights are on disk: one at a time has its weights in memory."""

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor, nn

from headcount.tracing.checkpoints.adapter import Adapter
from headcount.tracing.checkpoints.checkpoint import Checkpoint
from headcount.tracing.checkpoints.stored_tensor import pages
from headcount.tracing.fingerprint import covered_bytes, digest_of

_ALIGNMENT = 16
"""Each weight begins at a multiple of so many numbers: processors read memory in lines of 64 bytes."""


class Blocks:
    """Blocks whose weights are read when they are needed.

    There is memory for two, which all blocks use in turn: for one in the number format to compute in, and for one as it
    is stored, into which the next block is read during the computation.

    Args:
        hf: The model, all of its parameters on meta.
        layers: The path of its blocks.
        checkpoint: The weights on disk.
        dtype: The number format to compute in.
        adapter: The changes of an adapter to the weights, if there is one.
    """

    def __init__(
        self, hf: Any, layers: str, checkpoint: Checkpoint, dtype: torch.dtype, adapter: Adapter | None = None
    ) -> None:
        self.hf, self.layers, self.checkpoint, self.dtype, self.adapter = hf, layers, checkpoint, dtype, adapter
        self._empty: dict[int, dict[str, nn.Parameter]] = {layer: {} for layer in range(len(hf.get_submodule(layers)))}
        self._outer: list[str] = []
        for name, parameter in hf.named_parameters():
            if name.startswith(f"{layers}."):
                self._empty[int(name.removeprefix(f"{layers}.").partition(".")[0])][name] = parameter
            else:
                self._outer.append(name)
        self._buffers = stored_buffers(hf)
        self._outer += self._buffers
        blocks = self._empty.values()
        self._numbers_a_block = max(sum(map(self._size, block.values())) for block in blocks)
        self._bytes_a_block = max(sum(checkpoint[name].page_bytes for name in block) for block in blocks)
        self._bytes_to_join = max(map(checkpoint.joining_bytes, [*self._outer, *(name for b in blocks for name in b)]))
        self._computing, self._staged = torch.empty(0), torch.empty(0)
        self._covered: dict[str, bytes] = {}
        self._held: int | None = None
        self._reader = ThreadPoolExecutor(1)
        self._next: tuple[int, Future[dict[str, list[Tensor]]]] | None = None

    def load_outer_weights(self) -> None:
        """Read the weights outside of the blocks, which then stay in memory."""
        for name in self._outer:
            stored = self.checkpoint.read(name, pages(self.checkpoint[name].page_bytes))
            self._put(name, self._changed(name, self.checkpoint.join(name, stored).to(self._dtype_of(name))))
        self.hf.tie_weights()
        self._computing = torch.empty(self._numbers_a_block, dtype=self.dtype)
        self._staged = pages(self._bytes_a_block)
        for memory in (self._computing, self._staged):
            memory.zero_()  # the system provides memory when it is written to: from now on it counts as taken

    def bytes_still_needed(self) -> int:
        """Return the memory that the outer weights and two blocks will take beyond what they have taken already."""
        if len(self._staged):
            return self._bytes_to_join
        outer = [self.checkpoint[name] for name in self._outer]
        computing = sum(stored.shape.numel() for stored in outer) * self.dtype.itemsize
        blocks = self._numbers_a_block * self.dtype.itemsize + self._bytes_a_block
        # The memory of the blocks is taken after the outer weights have been read.
        return computing + self._bytes_to_join + max(blocks, *(stored.page_bytes for stored in outer))

    def hold(self, layer: int, next_layer: int | None = None) -> nn.Module:
        """Return a block with its weights; the block before loses its own.

        Args:
            layer: The block's number.
            next_layer: The number of the block that will be needed next: it is read from disk in the meantime.

        Raises:
            InputError: Its weights can no longer be read.
        """
        if self._held != layer:
            self._release()
            begin = 0
            for name, parts in self._fetching(layer).result().items():
                stored, empty = self.checkpoint.join(name, parts), self._empty[layer][name]
                if empty.dtype == self.dtype:
                    weight = self._computing[begin : begin + stored.numel()].view(stored.shape).copy_(stored)
                else:  # a small one that stays precise
                    weight = stored.to(empty.dtype, copy=True)
                begin += self._size(empty)
                self._put(name, self._changed(name, weight))
                if name not in self._covered:
                    self._covered[name] = covered_bytes(name, weight)
            self._held = layer
        if next_layer is not None:
            self._fetching(next_layer)
        return self.block(layer)

    def block(self, layer: int) -> nn.Module:
        """Return a block, with or without weights."""
        block: nn.Module = self.hf.get_submodule(f"{self.layers}.{layer}")
        return block

    def fingerprint(self) -> str:
        """Return the fingerprint of the model; blocks that have not been held yet are read for it."""
        for layer, block in self._empty.items():
            if any(name not in self._covered for name in block):
                self.hold(layer)
        state = self.hf.state_dict()
        return digest_of(self._covered.get(name) or covered_bytes(name, state[name]) for name in sorted(state))

    def _fetching(self, layer: int) -> Future[dict[str, list[Tensor]]]:
        """Return a block's stored weights, which are being read from disk."""
        if self._next is None or self._next[0] != layer:
            self._next = layer, self._reader.submit(self._fetch, layer)
        return self._next[1]

    def _fetch(self, layer: int) -> dict[str, list[Tensor]]:
        weights, begin = dict[str, list[Tensor]](), 0
        for name in self._empty[layer]:
            weights[name] = self.checkpoint.read(name, self._staged[begin:])
            begin += self.checkpoint[name].page_bytes
        return weights

    def _changed(self, name: str, weight: Tensor) -> Tensor:
        """Return a weight after the adapter has changed it in place."""
        if self.adapter is not None:
            self.adapter.change(name, weight)
        return weight

    def _release(self) -> None:
        if self._held is not None:
            for name, parameter in self._empty[self._held].items():
                self._set(name, parameter)
            self._held = None

    def _put(self, name: str, value: Tensor) -> None:
        self._set(name, nn.Parameter(value, requires_grad=False) if name not in self._buffers else value)

    def _set(self, name: str, weight: Tensor) -> None:
        path, _, leaf = name.rpartition(".")
        setattr(self.hf.get_submodule(path), leaf, weight)

    def _dtype_of(self, name: str) -> torch.dtype:
        """Return the number format of a weight, that of the empty one."""
        path, _, leaf = name.rpartition(".")
        weight: Tensor = getattr(self.hf.get_submodule(path), leaf)
        return weight.dtype

    def _size(self, empty: Tensor) -> int:
        """Return the number of numbers that a weight takes in the memory to compute in."""
        return -(-empty.numel() // _ALIGNMENT) * _ALIGNMENT if empty.dtype == self.dtype else 0


class BlocksInMemory(Blocks):
    """Blocks of a model in memory, for the runner: to see if they can be run one by one.

    Args:
        model: The model.
    """

    def __init__(self, model: Any) -> None:
        self.hf, self.layers, self.dtype = model.hf, model.family.layers, model.dtype

    def load_outer_weights(self) -> None:
        """Read nothing: all weights are here."""

    def bytes_still_needed(self) -> int:
        """Return 0."""
        return 0

    def hold(self, layer: int, next_layer: int | None = None) -> nn.Module:
        """Return a block."""
        block: nn.Module = self.hf.get_submodule(f"{self.layers}.{layer}")
        return block


def stored_buffers(hf: nn.Module) -> dict[str, Tensor]:
    """Return the buffers of a model that its checkpoint holds, by name; others follow from the configuration."""
    stored = hf.state_dict().keys()
    return {name: buffer for name, buffer in hf.named_buffers() if name in stored}
