"""The blocks of a model whose weights are on disk: one at a time has its weights in memory."""

import threading
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from tracing.checkpoint import Checkpoint
from tracing.provenance import digest_of, piece


class Blocks:
    """Fills a model's blocks with weights when they are needed.

    Weights that are stored in the number format they are computed in are used where they are mapped, on the CPU; others
    are converted into memory that every block uses again.

    Args:
        hf: The model, all of its parameters on meta.
        layers: The path of its blocks.
        checkpoint: Where the weights are.
        dtype: The number format to compute in.
    """

    def __init__(self, hf: Any, layers: str, checkpoint: Checkpoint, dtype: torch.dtype) -> None:
        self.hf, self.layers, self.checkpoint, self.dtype = hf, layers, checkpoint, dtype
        self._held: int | None = None
        self._room: dict[str, Tensor] = {}
        self._empty = {name: parameter for name, parameter in hf.named_parameters() if name.startswith(f"{layers}.")}
        self._pieces: dict[str, bytes] = {}
        self._reader, self._fetched = threading.Thread(), -1
        self._outside = [name for name, _ in hf.named_parameters() if name not in self._empty]

    def fill_the_rest(self) -> None:
        """Read what is outside of the blocks, once and for all."""
        self.checkpoint.fetch(self._outside)
        for name in self._outside:
            self._put(name, self.checkpoint[name].to(self.dtype, copy=True))
        self.hf.tie_weights()

    def bytes_to_come(self) -> int:
        """The memory that what is outside of the blocks and the largest of them take here, less what is there."""
        outside = (self.hf.get_parameter(name) for name in self._outside)
        missing = sum(parameter.numel() for parameter in outside if parameter.is_meta) * self.dtype.itemsize
        per_layer = [0] * len(self.hf.get_submodule(self.layers))
        for name, parameter in self._empty.items():
            if self.checkpoint[name].dtype != self.dtype:
                per_layer[self._layer(name)] += parameter.numel() * self.dtype.itemsize
        return missing + max(0, max(per_layer, default=0) - sum(room.nbytes for room in self._room.values()))

    def hold(self, layer: int, then: int | None = None) -> nn.Module:
        """A block with its weights; those of the block held before are let go.

        Args:
            layer: Which.
            then: The one that will be wanted next: it is read from disk in the meantime.
        """
        if self._held != layer:
            self._let_go()
            self._fetching(layer).join()
            for name in self._names(layer):
                self._put(name, self._converted(name))
                if name not in self._pieces:
                    self._pieces[name] = piece(name, self.hf.get_parameter(name))
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
        for layer in range(len(self.hf.get_submodule(self.layers))):
            if any(name not in self._pieces for name in self._names(layer)):
                self.hold(layer)
        state = self.hf.state_dict()
        return digest_of(self._pieces.get(name) or piece(name, state[name]) for name in sorted(state))

    def _fetching(self, layer: int) -> threading.Thread:
        """The thread that has a block read from disk."""
        if self._fetched != layer:
            self._reader = threading.Thread(target=self.checkpoint.fetch, args=(list(self._names(layer)),), daemon=True)
            self._reader.start()
            self._fetched = layer
        return self._reader

    def _names(self, layer: int) -> Iterator[str]:
        return (name for name in self._empty if self._layer(name) == layer)

    def _layer(self, name: str) -> int:
        return int(name.removeprefix(f"{self.layers}.").partition(".")[0])

    def _let_go(self) -> None:
        if self._held is not None:
            for name in self._names(self._held):
                self._set(name, self._empty[name])
                self.checkpoint.release(name)
            self._held = None

    def _converted(self, name: str) -> Tensor:
        stored = self.checkpoint[name]
        if stored.dtype == self.dtype:
            return stored
        within = name.split(".", self.layers.count(".") + 2)[-1]
        room = self._room.get(within)
        if room is None or room.shape != stored.shape:
            room = self._room[within] = torch.empty(stored.shape, dtype=self.dtype)
        room.copy_(stored)
        self.checkpoint.release(name)
        return room

    def _put(self, name: str, value: Tensor) -> None:
        self._set(name, nn.Parameter(value, requires_grad=False))

    def _set(self, name: str, parameter: nn.Parameter) -> None:
        path, _, own = name.rpartition(".")
        setattr(self.hf.get_submodule(path), own, parameter)
