"""Names and places of the tensors in one file of weights: safetensors, or torch's own format."""

import json
import pickle
import struct
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor

from headcount.results import InputError
from headcount.tracing.checkpoints.stored_tensor import StoredTensor

_DTYPES = {
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
"""Errors that damaged files cause."""


def stored_tensors(path: Path, *, with_places: bool = True) -> dict[str, StoredTensor]:
    """Return the tensors of a file by name; no values are read.

    Args:
        path: The file.
        with_places: False if their values will not be read: files of torch before 1.6, which do not tell their
            tensors' places, are then accepted too.

    Raises:
        InputError: The file is damaged, not safe to read, or holds something else.
    """
    try:
        return _in_safetensors(path) if path.suffix == ".safetensors" else _in_torch_file(path, with_places)
    except _DAMAGE as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"{path} cannot be read as weights ({reason}): fetch it again, or save it as safetensors"
        ) from error


def _in_safetensors(path: Path) -> dict[str, StoredTensor]:
    """Read a file's header: its length in 8 bytes, and JSON; the values follow.

    The safetensors library would map the file, and the system would read megabytes that are not needed.
    """
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(min(length, _LONGEST_HEADER)))
    header.pop("__metadata__", None)
    data_begin, data_bytes = 8 + length, path.stat().st_size - 8 - length
    tensors, places = {}, [(0, 0)]
    for name, entry in header.items():
        if entry["dtype"] not in _DTYPES:
            raise ValueError(f"{name} is stored as {entry['dtype']}")
        like = torch.empty(entry["shape"], dtype=_DTYPES[entry["dtype"]], device="meta")
        begin, end = entry["data_offsets"]
        if not 0 <= begin <= end <= data_bytes or end - begin != like.nbytes:
            raise ValueError(f"{name} is not wholly in the file")
        places.append((begin, end))
        tensors[name] = StoredTensor(path, data_begin + begin, like)
    places = [*sorted(places), (data_bytes, 0)]
    if any(type(begin) is not int or begin != end for (_, end), (begin, _) in pairwise(places)):
        raise ValueError("its tensors do not lie one after the other")
    return tensors


def _in_torch_file(path: Path, with_places: bool) -> dict[str, StoredTensor]:
    """Load a file of torch's own without values; torch notes their places."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(tensors, dict) or not all(isinstance(tensor, Tensor) for tensor in tensors.values()):
        raise ValueError("it holds something else than tensors by name")
    return {name: StoredTensor(path, _offset(tensor) if with_places else 0, tensor) for name, tensor in tensors.items()}


def _offset(tensor: Tensor) -> int:
    begin = getattr(tensor.untyped_storage(), "_checkpoint_offset", None)
    if begin is None:
        raise ValueError("it has the format of torch before 1.6")
    return int(begin + tensor.storage_offset() * tensor.dtype.itemsize)
