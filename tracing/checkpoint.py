"""The tensors of a checkpoint on disk, by the names of a model's parameters, mapped into memory rather than read."""

import ctypes
import json
import mmap
import pickle
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import safetensors
import torch
from torch import Tensor

from results import InputError

_LISTS = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
_WHOLE = ("model.safetensors", "pytorch_model.bin")
_PAGEOUT, _POPULATE_READ = 21, 22
"""Linux' MADV_PAGEOUT and MADV_POPULATE_READ, of versions 5.4 and 5.14, which Python has no names for.

To ask for all pages of a tensor takes a fraction of the time that it takes to look at each.
"""


class Checkpoint:
    """A model's weights in files, of which a tensor is read when its values are looked at.

    Args:
        where: A folder, or a name on the Hub, from which the files are fetched into its cache.
        parameters: The names of the model's parameters, with their shapes.
        rename: Makes of a tensor's name in the files the name of the parameter that it is for.
        revision: The Hub's branch, tag or commit.

    Attributes:
        bytes: The size of the model's tensors on disk.

    Raises:
        InputError: There are no weights, they are damaged or not safe to read, or some are missing or of another shape.
    """

    def __init__(
        self,
        where: str,
        parameters: Mapping[str, torch.Size],
        rename: Callable[[str], str],
        revision: str | None = None,
    ) -> None:
        self.where = where
        stored = [_open(path) for path in _files(where, revision)]
        self._tensors = {rename(name): tensor for file in stored for name, tensor in file.items()}
        if lacking := sorted(set(parameters) - set(self._tensors)):
            raise InputError(
                f"the weights of {where} are incomplete: {len(lacking)} tensors are missing, first {lacking[0]}"
            )
        for name, shape in parameters.items():
            if (came := self._tensors[name].shape) != shape:
                raise InputError(f"{name} of {where} should be {list(shape)}, but is {list(came)}")
        self.bytes = sum(self._tensors[name].nbytes for name in parameters)

    def __getitem__(self, name: str) -> Tensor:
        """A parameter as it is stored; its values are read from disk when they are looked at."""
        return self._tensors[name]

    def fetch(self, names: Iterable[str]) -> None:
        """Have the system read tensors from disk, so that they are there when they are looked at."""
        for name in names:
            tensor = self._tensors[name]
            if not _advise(tensor, _POPULATE_READ):
                tensor.flatten().view(torch.uint8).numpy()[:: mmap.PAGESIZE].max(initial=0)  # a byte of each page

    def release(self, name: str) -> None:
        """Give the system a tensor's memory back; looked at again, the values come from disk again."""
        _advise(self._tensors[name], _PAGEOUT)


def _advise(tensor: Tensor, advice: int) -> bool:
    """Tell the system what a mapped tensor's pages are for; False where it does not take this advice."""
    if sys.platform != "linux":
        return False
    start = tensor.data_ptr() // mmap.PAGESIZE * mmap.PAGESIZE
    size = tensor.data_ptr() + tensor.nbytes - start
    return bool(ctypes.CDLL(None).madvise(ctypes.c_void_p(start), ctypes.c_size_t(size), advice) == 0)


def _files(where: str, revision: str | None) -> list[Path]:
    """The files that hold the weights: safetensors where there are any, otherwise torch's own."""
    for listing, whole in zip(_LISTS, _WHOLE, strict=True):
        if (path := _fetched(where, whole, revision)) is not None:
            return [path]
        if (path := _fetched(where, listing, revision)) is not None:
            return [_shard(where, name, revision) for name in _listed(path)]
    raise InputError(f"{where} holds no weights: expected {' or '.join((*_WHOLE, *_LISTS))}")


def _listed(path: Path) -> list[str]:
    try:
        return sorted(set(json.loads(path.read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} does not list the files of a checkpoint ({error}): fetch it again") from error


def _shard(where: str, name: str, revision: str | None) -> Path:
    path = _fetched(where, name, revision)
    if path is None:
        raise InputError(f"the weights of {where} are incomplete: {name} is missing")
    return path


def _fetched(where: str, name: str, revision: str | None) -> Path | None:
    """A file of a folder or of the Hub, None if it is not there."""
    if Path(where).is_dir():
        path = Path(where) / name
        return path if path.is_file() else None
    from transformers.utils import cached_file

    options: dict[str, Any] = {"_raise_exceptions_for_missing_entries": False}
    found = cached_file(where, name, revision=revision, **options)
    return None if found is None else Path(found)


def _open(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            with safetensors.safe_open(path, framework="pt") as file:
                return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
        found: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()):
            raise ValueError("it holds something else than tensors by name")
        return found
    except (OSError, RuntimeError, ValueError, safetensors.SafetensorError, pickle.UnpicklingError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"{path} cannot be read as weights ({reason}): fetch it again, or save it as safetensors"
        ) from error
