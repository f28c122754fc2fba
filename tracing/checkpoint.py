"""The tensors of a checkpoint on disk, by the names of a model's parameters: read when they are asked for."""

import json
import pickle
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from results import InputError
from tracing.stored import Stored

_LISTS = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
_WHOLE = ("model.safetensors", "pytorch_model.bin")
_FORMATS = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
"""Those of weights; what has others are masks and positions that older checkpoints carry along."""
_LONGEST_HEADER = 100_000_000
"""Bytes, by the definition of safetensors."""
_DAMAGE = (
    OSError,
    RuntimeError,
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
    struct.error,
    pickle.UnpicklingError,
)
"""What damaged files make of reading them."""


class Checkpoint:
    """A model's weights in files.

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
        self._tensors = {rename(name): one for file in stored for name, one in file.items()}
        if lacking := sorted(set(parameters) - set(self._tensors)):
            raise InputError(
                f"the weights of {where} are incomplete: {len(lacking)} tensors are missing, first {lacking[0]}"
            )
        for name, shape in parameters.items():
            if (came := self._tensors[name].shape) != shape:
                raise InputError(f"{name} of {where} should be {list(shape)}, but is {list(came)}")
        self.bytes = sum(self._tensors[name].nbytes for name in parameters)

    def __getitem__(self, name: str) -> Stored:
        """A parameter as it is stored."""
        return self._tensors[name]

    def read(self, name: str, memory: Tensor) -> Tensor:
        """A parameter's values.

        Args:
            name: Its name.
            memory: Where they go; see `Stored.read`.

        Raises:
            InputError: The file cannot be read any more.
        """
        stored = self._tensors[name]
        try:
            return stored.read(memory)
        except OSError as error:
            reason = error.strerror or error
            raise InputError(f"{name} cannot be read from {stored.path} ({reason}): was the file changed?") from error


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


def _open(path: Path) -> dict[str, Stored]:
    try:
        return _in_safetensors(path) if path.suffix == ".safetensors" else _in_bin(path)
    except _DAMAGE as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"{path} cannot be read as weights ({reason}): fetch it again, or save it as safetensors"
        ) from error


def _in_safetensors(path: Path) -> dict[str, Stored]:
    """Names and tensors of a file: the length of the header in 8 bytes, the header in JSON, and the values.

    The library would map the file, for which the system reads megabytes of each that nobody looks at.
    """
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(min(length, _LONGEST_HEADER)))
    size, found = path.stat().st_size, {}
    for name, said in header.items():
        if name != "__metadata__" and said["dtype"] in _FORMATS:
            like = torch.empty(said["shape"], dtype=_FORMATS[said["dtype"]], device="meta")
            begin, end = (8 + length + offset for offset in said["data_offsets"])
            if not 8 + length <= begin <= end <= size or end - begin != like.nbytes:
                raise ValueError(f"{name} does not lie in it whole")
            found[name] = Stored(path, begin, like)
    return found


def _in_bin(path: Path) -> dict[str, Stored]:
    """Names and tensors of a file of torch's own, which notes where they are if none is to have values."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        found = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()):
        raise ValueError("it holds something else than tensors by name")
    return {name: Stored(path, _begins(tensor), tensor) for name, tensor in found.items()}


def _begins(tensor: Tensor) -> int:
    begins = getattr(tensor.untyped_storage(), "_checkpoint_offset", None)
    if begins is None:
        raise ValueError("it has the format of torch before 1.6")
    return int(begins + tensor.storage_offset() * tensor.dtype.itemsize)
