"""The tensors of a checkpoint on disk, by the names of a model's parameters: read when they are asked for."""

import json
import os
import pickle
import re
import struct
from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from headcount.results import InputError
from headcount.tracing.checkpoints.stored_tensor import Stored

_LISTS = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
_WHOLE = ("model.safetensors", "pytorch_model.bin")
_FORMATS = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "C64": torch.complex64,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U64": torch.uint64,
    "U32": torch.uint32,
    "U16": torch.uint16,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
_OF_WEIGHTS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
"""What has others are masks that older checkpoints carry along, or numbers that stand for weights: quantised ones."""
_HARMLESS = (
    r"(^|\.)rotary_emb\.inv_freq$",
    r"(^|\.)position_ids$",
    r"(^|\.)(attn|attention)\.(masked_)?bias$",
    r"(^|\.)decoder\.version$",
)
"""What older checkpoints carry along and models now make themselves: frequencies, positions, causal masks."""
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
        tied: Further names of parameters, and which those are; the files may hold a parameter by either name, or both.
        unused: Patterns of names that the files may hold besides.
        to_read: Whether the values are to be read from here, or the names, shapes and formats only checked.

    Attributes:
        bytes: The size of the model's tensors on disk.

    Raises:
        InputError: There are no weights, they are damaged or not safe to read, some are missing, of another shape or no
            floating-point numbers, or there are tensors that the model has no place for.
    """

    def __init__(
        self,
        where: str,
        parameters: Mapping[str, torch.Size],
        rename: Callable[[str], str],
        revision: str | None = None,
        *,
        tied: Mapping[str, str] = MappingProxyType({}),
        unused: Iterable[str] = (),
        to_read: bool = True,
    ) -> None:
        self.where = where
        self._tensors: dict[str, Stored] = {}
        for path in _files(where, revision):
            for name, one in _open(path, to_read).items():
                if (new := rename(name)) in self._tensors:
                    raise InputError(f"{where} holds {new} twice: expected one tensor a parameter; save it again")
                self._tensors[new] = one
        for other, name in tied.items():
            if name not in self._tensors and other in self._tensors:
                self._tensors[name] = self._tensors.pop(other)
        if lacking := sorted(set(parameters) - set(self._tensors)):
            raise InputError(
                f"the weights of {where} are incomplete: {len(lacking)} tensors are missing, first {lacking[0]}"
            )
        known = re.compile("|".join((*_HARMLESS, *unused)))
        if extra := sorted(name for name in {*self._tensors} - {*parameters, *tied} if not known.search(name)):
            raise InputError(
                f"the model has no place for {len(extra)} tensors of {where}, first {extra[0]}: expected weights that "
                "go with its config.json"
            )
        for name, shape in parameters.items():
            if (came := self._tensors[name].shape) != shape:
                raise InputError(f"{name} of {where} should be {list(shape)}, but is {list(came)}")
            if (dtype := self._tensors[name].dtype) not in _OF_WEIGHTS:
                raise InputError(
                    f"{name} of {where} is stored as {str(dtype).removeprefix('torch.')}: expected float32, bfloat16, "
                    "float16 or float64; if the weights are quantised, their config.json must say how"
                )
        for other, name in tied.items():
            if to_read and other in self._tensors and not self._tensors[other].equals(self._tensors[name]):
                raise InputError(
                    f"{other} of {where} differs from {name}, which config.json says it is: set tie_word_embeddings to "
                    "false there"
                )
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
        names = sorted(set(json.loads(path.read_text(encoding="utf-8"))["weight_map"].values()))
        outside = [name for name in names if os.path.isabs(name) or ".." in Path(name).parts]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} does not list the files of a checkpoint ({error}): fetch it again") from error
    if outside:
        raise InputError(f"{path} lists {outside[0]!r:.80}: expected files of the model's own folder")
    return names


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


def _open(path: Path, to_read: bool) -> dict[str, Stored]:
    try:
        return _in_safetensors(path) if path.suffix == ".safetensors" else _in_bin(path, to_read)
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
    size, found, places = path.stat().st_size, {}, [(0, 0)]
    header.pop("__metadata__", None)
    for name, said in header.items():
        if said["dtype"] not in _FORMATS:
            raise ValueError(f"{name} is stored as {said['dtype']}")
        like = torch.empty(said["shape"], dtype=_FORMATS[said["dtype"]], device="meta")
        begin, end = said["data_offsets"]
        if not 0 <= begin <= end <= size - 8 - length or end - begin != like.nbytes:
            raise ValueError(f"{name} does not lie in it whole")
        places.append((begin, end))
        found[name] = Stored(path, 8 + length + begin, like)
    places = [*sorted(places), (size - 8 - length, 0)]
    if any(type(begin) is not int or begin != end for (_, end), (begin, _) in pairwise(places)):
        raise ValueError("its tensors do not lie one after the other")
    return found


def _in_bin(path: Path, to_read: bool) -> dict[str, Stored]:
    """Names and tensors of a file of torch's own, which notes where they are if none is to have values."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        found = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()):
        raise ValueError("it holds something else than tensors by name")
    return {name: Stored(path, _begins(tensor) if to_read else 0, tensor) for name, tensor in found.items()}


def _begins(tensor: Tensor) -> int:
    begins = getattr(tensor.untyped_storage(), "_checkpoint_offset", None)
    if begins is None:
        raise ValueError("it has the format of torch before 1.6")
    return int(begins + tensor.storage_offset() * tensor.dtype.itemsize)
