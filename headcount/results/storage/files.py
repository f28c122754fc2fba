"""How results are kept on disk: one file each, whole or not at all, that says what it is.

Each has a header, `{"format": "headcount", "schema": 1, "kind": "HeadScores", "sha256": "..", "fields": {..}}`, and
`"belongs": {..}` where a run keeps it. A file without tensors is that header as JSON; one with tensors is a safetensors
file with the header in its metadata. The checksum covers fields, tensors and what the file belongs to, so a file whose
bytes have changed is noticed even where it still parses.
"""

import errno
import glob
import hashlib
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any, NoReturn

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from headcount.results.errors import InputError

FORMAT = "headcount"
SCHEMA = 1
TEMPORARY = ".tmp"
TRIES = 100  # to write a file that other processes write at the same time
ADVICE = dict.fromkeys(
    (errno.ENOSPC, errno.EDQUOT), "free some space and give the same command again: what is finished is kept"
)
"""What to do where a file cannot be written, by the number of the error."""


class DamagedError(InputError):
    """A file cannot be taken for what was once written."""


@dataclass(frozen=True, eq=False)
class Content:
    """What one file holds, before any class has given it meaning.

    Attributes:
        kind: The class that it belongs to, such as `"HeadScores"`.
        fields: Everything that is not a tensor, as JSON holds it.
        tensors: Tensors by name, float32 or uint8, of any shapes.
        belongs: Which result of which run it is, in the words of `headcount.results.run`; nothing for a file that
        stands alone.
    """

    kind: str
    fields: dict[str, Any]
    tensors: dict[str, Tensor] = field(default_factory=dict)
    belongs: dict[str, Any] = field(default_factory=dict)

    def header(self) -> str:
        """The header as JSON text, the same text for the same content whatever the order of its dicts."""
        said = {"format": FORMAT, "schema": SCHEMA, "kind": self.kind, "sha256": self.digest(), "fields": self.fields}
        return _canonical(said | ({"belongs": self.belongs} if self.belongs else {}))

    def digest(self) -> str:
        """SHA-256 over the fields, what they belong to, and every tensor's name, shape and bytes."""
        digest = hashlib.sha256(_canonical(self.fields).encode())
        if self.belongs:
            digest.update(f"\nbelongs {_canonical(self.belongs)}".encode())
        for name, tensor in sorted(self.tensors.items()):
            digest.update(f"\n{name} {list(tensor.shape)}\n".encode())
            digest.update(tensor.numpy().tobytes())
        return digest.hexdigest()


def write(path: Path, content: Content) -> None:
    """Writes content whole: JSON where it has no tensors, else safetensors. Equal content gives equal bytes.

    Raises:
        InputError: The path cannot be written.
    """
    if not content.tensors:
        write_whole(path, (content.header() + "\n").encode())
        return
    # safetensors orders several metadata entries anew in every process: a single one keeps the bytes the same.
    write_whole(path, safetensors.torch.save(content.tensors, metadata={FORMAT: content.header()}))


def read(path: Path) -> Content:
    """Reads a file that `write` has made.

    Args:
        path: A file of either form; its content tells which, not its name.

    Raises:
        InputError: The file is missing, empty, damaged, foreign or of a newer schema; the message names it.
    """
    check_file(path)
    header, tensors = (read_json(path), {}) if _is_json(path) else _read_safetensors(path)
    check_header(path, header)
    try:
        content = Content(str(header["kind"]), dict(header["fields"]), tensors, dict(header.get("belongs", {})))
        intact = header["sha256"] == content.digest()
    except (KeyError, TypeError, ValueError) as error:
        raise damaged(path, f"its header is incomplete ({error!r})") from error
    if not intact:
        raise damaged(path, "its content does not match its checksum")
    return content


def seal(said: Mapping[str, Any]) -> str:
    """SHA-256 over what a JSON object says, its own seal `sha256` left out."""
    return hashlib.sha256(
        _canonical({key: value for key, value in said.items() if key != "sha256"}).encode()
    ).hexdigest()


def damaged(path: Path, why: str) -> DamagedError:
    """The error for a file that cannot be taken for what was once written."""
    return DamagedError(f"{path} is damaged or was not written by headcount: {why}; remove it and measure again")


def set_aside(path: Path) -> Path:
    """Renames a file, so that another can take its place and nothing is lost.

    Returns:
        Its new path: the old one with `.damaged` after it.

    Raises:
        InputError: It cannot be renamed.
    """
    try:
        return path.replace(path.with_name(f"{path.name}.damaged"))
    except OSError as error:
        raise InputError(f"cannot rename {path}: {error.strerror}; make its folder writable") from error


def check_file(path: Path) -> None:
    """Requires an existing file with something in it.

    Raises:
        InputError: It is missing, a folder, or empty.
    """
    if not os.path.isfile(path):
        found = "a folder" if os.path.isdir(path) else "nothing"
        raise InputError(f"{path}: expected a file, found {found}; check the path")
    if os.path.getsize(path) == 0:
        raise damaged(path, "it is empty")


def check_header(path: Path, header: Mapping[str, Any]) -> None:
    """Requires a header of this format, of a schema that this version can read.

    Raises:
        InputError: It is another program's, or a newer headcount's.
    """
    if header.get("format") != FORMAT:
        raise InputError(f"{path}: expected a file written by headcount, got one without its header; check the path")
    schema = header.get("schema")
    if type(schema) is not int or schema < 1:  # True is an int as well
        raise damaged(path, f"its schema is {schema!r}")
    if schema > SCHEMA:
        raise InputError(
            f"{path} was written by a newer headcount: schema {schema}, this version reads up to {SCHEMA}; upgrade"
        )


def read_json(path: Path) -> dict[str, Any]:
    """Reads a file that holds one JSON object.

    Raises:
        InputError: The file cannot be read, or holds something else.
    """
    try:
        return parse_json(path, path.read_bytes())
    except OSError as error:
        raise _unreadable(path, error) from error


def parse_json(path: Path, text: str | bytes) -> dict[str, Any]:
    """Parses a JSON object strictly: NaN and infinities, which are not JSON, are refused.

    Raises:
        InputError: The text is not a JSON object.
    """
    try:
        parsed = json.loads(text, parse_constant=_no_constant, parse_float=_finite, object_pairs_hook=single)
    except (ValueError, RecursionError) as error:
        raise damaged(path, f"it is not JSON ({error})") from error
    if not isinstance(parsed, dict):
        raise damaged(path, f"expected a JSON object, got {type(parsed).__name__}")
    return parsed


def single(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object, of which no key may be there twice: one value would be lost without a word.

    Raises:
        ValueError: One is.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)!r:.80} is there twice")
    return found


def write_whole(path: Path, data: bytes) -> None:
    """Writes a file so that a reader, or a crash at any moment, sees all of it or what was there before.

    Args:
        path: Where; missing folders above it are made.
        data: The whole content.

    Raises:
        InputError: The path cannot be written, or is something else than a file: a folder, a device, a pipe.
    """
    if path.name in ("", "..") or "\0" in str(path):
        raise InputError(f"cannot write {str(path)!r}: expected the name of a file")
    if os.path.islink(path):
        path = Path(os.path.realpath(path))  # what it leads to is written, and the link stays
    if os.path.lexists(path) and not (os.path.isfile(path) or os.path.isdir(path)):
        raise InputError(f"cannot write {path}: expected a file or a new name, got something else; choose another path")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for _ in range(TRIES):
            if _written(path, data):
                return
        raise InputError(f"cannot write {path}: other processes write it, too; let one of them end")
    except (FileExistsError, NotADirectoryError) as error:
        raise InputError(f"cannot write {path}: a file is where a folder must be; choose another path") from error
    except OSError as error:
        advice = ADVICE.get(error.errno or 0, "choose a path that can be written")
        raise InputError(f"cannot write {path}: {error.strerror}; {advice}") from error


def _written(path: Path, data: bytes) -> bool:
    """Writes beside the path and renames; False if another writer of the path took this file for one left behind."""
    # Opened by hand and not by tempfile, whose files only their owner could read.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}{TEMPORARY}")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except FileNotFoundError:
        if path.parent.is_dir():
            return False
        raise
    finally:
        temporary.unlink(missing_ok=True)
    # What a process that was killed while it wrote has left; one that still writes begins again.
    for left in path.parent.glob(f".{glob.escape(path.name)}.{8 * '[0-9a-f]'}{TEMPORARY}"):
        left.unlink(missing_ok=True)
    _sync_folder(path.parent)
    return True


def _sync_folder(folder: Path) -> None:
    """Makes a rename in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _is_json(path: Path) -> bool:
    """Tells the two forms apart: safetensors begins with the 8-byte length of its header, which has zeros in it."""
    try:
        with path.open("rb") as file:
            start = file.read(8)
    except OSError as error:
        raise _unreadable(path, error) from error
    return start.startswith(b"{") and b"\0" not in start


def _read_safetensors(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    try:
        # By way of numpy: for torch, safetensors 0.8 keeps two integers of every tensor that it reads for ever.
        with safetensors.safe_open(path, framework="numpy") as file:
            text = (file.metadata() or {}).get(FORMAT)
            tensors = {name: torch.from_numpy(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118 - no dict
    except (safetensors.SafetensorError, OSError, TypeError, ValueError) as error:
        raise damaged(path, f"it is not a whole safetensors file ({error})") from error
    return parse_json(path, text) if text is not None else {}, tensors


def _unreadable(path: Path, error: OSError) -> InputError:
    return InputError(f"cannot read {path}: {error.strerror}; check its permissions")


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, allow_nan=False)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _finite(text: str) -> float:
    """A number; one such as 1e999, which Python reads as infinity, is refused like infinity's name."""
    if not isfinite(number := float(text)):
        _no_constant(text)
    return number


def write_folder_whole(folder: Path, marker: str, make: Callable[[Path, Path], None]) -> None:
    """Fill a folder if it is not there yet, so that it appears whole or not at all.

    Args:
        folder: The folder that is wanted.
        marker: Name of a file that a whole one has.
        make: Given a scratch folder and a path that does not exist yet, makes the folder at that path.
    """
    if (folder / marker).is_file():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
        made = Path(scratch) / "made"
        make(Path(scratch), made)
        if not (folder / marker).is_file():  # another process may have been quicker
            shutil.rmtree(folder, ignore_errors=True)
            made.rename(folder)
