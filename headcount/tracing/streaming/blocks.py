"""The blocks of a model whose weights are on disk: one at a time has its weights in memory."""

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor, nn

from headcount.tracing.checkpoints.checkpoint import Checkpoint
from headcount.tracing.checkpoints.stored_tensor import pages
from headcount.tracing.fingerprint import digest_of, piece

_ALIGNED = 16
"""Numbers, of which the weights of a block begin at a multiple: processors read them in lines of 64 bytes."""


class Blocks:
    """Fills a model's blocks with weights when they are needed.

    There is memory for two, which every block uses again: for one as it is stored, into which the next one is read
    while another one computes, and for one in the number format to compute in.

    Args:
        hf: The model, all of its parameters on meta.
        layers: The path of its blocks.
        checkpoint: Where the weights are.
        dtype: The number format to compute in.
    """

    def __init__(self, hf: Any, layers: str, checkpoint: Checkpoint, dtype: torch.dtype) -> None:
        self.hf, self.layers, self.checkpoint, self.dtype = hf, layers, checkpoint, dtype
        self._empty: dict[int, dict[str, nn.Parameter]] = {layer: {} for layer in range(len(hf.get_submodule(layers)))}
        self._outside: list[str] = []
        for name, parameter in hf.named_parameters():
            if name.startswith(f"{layers}."):
                self._empty[int(name.removeprefix(f"{layers}.").partition(".")[0])][name] = parameter
            else:
                self._outside.append(name)
        self._numbers = max(sum(map(_apart, block.values())) for block in self._empty.values())
        self._room = max(sum(checkpoint[name].room for name in block) for block in self._empty.values())
        self._computed, self._staged = torch.empty(0), torch.empty(0)
        self._pieces: dict[str, bytes] = {}
        self._held: int | None = None
        self._reader = ThreadPoolExecutor(1)
        self._fetched: tuple[int, Future[dict[str, Tensor]]] | None = None

    def fill_the_rest(self) -> None:
        """Read what is outside of the blocks, once and for all."""
        for name in self._outside:
            stored = self.checkpoint.read(name, pages(self.checkpoint[name].room))
            self._put(name, stored.to(self.dtype))
        self.hf.tie_weights()
        self._computed, self._staged = torch.empty(self._numbers, dtype=self.dtype), pages(self._room)
        for memory in (self._computed, self._staged):
            memory.zero_()  # the system gives memory when it is written to: what is left then is known from now on

    def bytes_to_come(self) -> int:
        """The memory that what is outside of the blocks, and two blocks, take beside what they have taken already."""
        if len(self._staged):
            return 0
        outside = [self.checkpoint[name] for name in self._outside]
        computed = sum(stored.shape.numel() for stored in outside) * self.dtype.itemsize
        blocks = self._numbers * self.dtype.itemsize + self._room
        return computed + max(blocks, *(stored.room for stored in outside))  # the former come when the latter are done

    def hold(self, layer: int, then: int | None = None) -> nn.Module:
        """A block with its weights; those of the block held before are let go.

        Args:
            layer: Which.
            then: The one that will be wanted next: it is read from disk in the meantime.

        Raises:
            InputError: Its weights cannot be read any more.
        """
        if self._held != layer:
            self._let_go()
            begins = 0
            for name, stored in self._fetching(layer).result().items():
                room = self._computed[begins : begins + stored.numel()].view(stored.shape)
                begins += _apart(stored)
                self._put(name, room.copy_(stored))
                if name not in self._pieces:
                    self._pieces[name] = piece(name, room)
            self._held = layer
        if then is not None:
            self._fetching(then)
        return self.block(layer)

    def block(self, layer: int) -> nn.Module:
        """A block, with or without weights."""
        found: nn.Module = self.hf.get_submodule(f"{self.layers}.{layer}")
        return found

    def fingerprint(self) -> str:
        """The digest that the model would have if it was in memory; blocks that were not seen yet are read for it."""
        for layer, block in self._empty.items():
            if any(name not in self._pieces for name in block):
                self.hold(layer)
        state = self.hf.state_dict()
        return digest_of(self._pieces.get(name) or piece(name, state[name]) for name in sorted(state))

    def _fetching(self, layer: int) -> Future[dict[str, Tensor]]:
        """A block as it is stored, which is being read from disk."""
        if self._fetched is None or self._fetched[0] != layer:
            self._fetched = layer, self._reader.submit(self._fetch, layer)
        return self._fetched[1]

    def _fetch(self, layer: int) -> dict[str, Tensor]:
        found, begins = {}, 0
        for name in self._empty[layer]:
            found[name] = self.checkpoint.read(name, self._staged[begins:])
            begins += self.checkpoint[name].room
        return found

    def _let_go(self) -> None:
        if self._held is not None:
            for name, parameter in self._empty[self._held].items():
                self._set(name, parameter)
            self._held = None

    def _put(self, name: str, value: Tensor) -> None:
        self._set(name, nn.Parameter(value, requires_grad=False))

    def _set(self, name: str, parameter: nn.Parameter) -> None:
        path, _, own = name.rpartition(".")
        setattr(self.hf.get_submodule(path), own, parameter)


def _apart(weights: Tensor) -> int:
    return -(-weights.numel() // _ALIGNED) * _ALIGNED
