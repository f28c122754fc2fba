"""Results on disk: one file each, whole or not at all, that states what it is.

Each has a header, `{"format": "headcount", "schema": 1, "kind": "HeadScores", "sha256": "..", "fields": {..}}`, and
`"belongs": {..}` if it stands in a run. A file without tensors is that header as JSON; one with tensors is a
safetensors file with the header in its metadata. The checksum covers fields, tensors and the run that the file belongs
to, so a file whose bytes have changed is noticed even where it still parses.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors

from headcount.results.errors import InputError, damaged
from headcount.results.storage.atomic import write_whole
from headcount.results.storage.json_text import canonical, parse_json, read_json, unreadable

FORMAT = "headcount"
SCHEMA = 1


@dataclass(frozen=True, eq=False)
class Content:
    """The content of one file, before any class has given it meaning.

    Attributes:
        kind: The class that it belongs to, such as `"HeadScores"`.
        fields: Everything that is not a tensor, as JSON holds it.
        tensors: Tensors by name, float32 or uint8, of any shapes; arrays where they were read for tables alone.
        belongs: The name of the result and its run, as `headcount.results.run` writes them; empty for a file that
            stands alone.
    """

    kind: str
    fields: dict[str, Any]
    tensors: dict[str, Any] = field(default_factory=dict)
    belongs: dict[str, Any] = field(default_factory=dict)

    def header(self) -> str:
        """Return the header as JSON text, the same text for the same content whatever the order of its dicts."""
        header = {"format": FORMAT, "schema": SCHEMA, "kind": self.kind, "sha256": self.digest(), "fields": self.fields}
        return canonical(header | ({"belongs": self.belongs} if self.belongs else {}))

    def digest(self) -> str:
        """Return SHA-256 over the fields, what they belong to, and every tensor's name, shape and bytes."""
        digest = hashlib.sha256(canonical(self.fields).encode())
        if self.belongs:
            digest.update(f"\nbelongs {canonical(self.belongs)}".encode())
        for name, tensor in sorted(self.tensors.items()):
            digest.update(f"\n{name} {list(tensor.shape)}\n".encode())
            array = tensor.numpy() if hasattr(tensor, "numpy") else tensor
            digest.update(array.tobytes())
        return digest.hexdigest()


def write_content(path: Path, content: Content) -> None:
    """Write content whole: JSON if it has no tensors, else safetensors. Equal content gives equal bytes.

    Raises:
        InputError: The path cannot be written.
    """
    if not content.tensors:
        write_whole(path, (content.header() + "\n").encode())
        return
    # safetensors orders several metadata entries anew in every process: a single one keeps the bytes the same.
    import safetensors.torch

    write_whole(path, safetensors.torch.save(content.tensors, metadata={FORMAT: content.header()}))


def read_content(path: Path, *, arrays: bool = False) -> Content:
    """Read a file that `write_content` has written.

    Args:
        path: A file of either form; its content decides which, not its name.
        arrays: True to read tensors as NumPy's arrays, without torch, which takes seconds to import.

    Raises:
        InputError: The file is missing, empty, damaged, foreign or of a newer schema; the message names it.
    """
    check_file(path)
    header, tensors = (read_json(path), {}) if _is_json(path) else _read_safetensors(path, arrays)
    check_header(path, header)
    try:
        content = Content(str(header["kind"]), dict(header["fields"]), tensors, dict(header.get("belongs", {})))
        intact = header["sha256"] == content.digest()
    except (KeyError, TypeError, ValueError) as error:
        raise damaged(path, f"its header is incomplete ({error!r})") from error
    if not intact:
        raise damaged(path, "its content does not match its checksum")
    return content


def seal(content: Mapping[str, Any]) -> str:
    """Return SHA-256 over a JSON object, without its `sha256`, which is where the seal is written."""
    unsealed = {key: value for key, value in content.items() if key != "sha256"}
    return hashlib.sha256(canonical(unsealed).encode()).hexdigest()


def check_file(path: Path) -> None:
    """Require an existing file that is not empty.

    Raises:
        InputError: It is missing, a folder, or empty.
    """
    if not os.path.isfile(path):
        actual = "a folder" if os.path.isdir(path) else "nothing"
        raise InputError(f"{path}: expected a file, found {actual}; check the path")
    if os.path.getsize(path) == 0:
        raise damaged(path, "it is empty")


def check_header(path: Path, header: Mapping[str, Any]) -> None:
    """Require a header of this format, of a schema that this version can read.

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


def _is_json(path: Path) -> bool:
    """Return True for JSON: safetensors begins with the 8-byte length of its header, which has zeros in it."""
    try:
        with path.open("rb") as file:
            start = file.read(8)
    except OSError as error:
        raise unreadable(path, error) from error
    return start.startswith(b"{") and b"\0" not in start


def _read_safetensors(path: Path, arrays: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    try:
        # By way of numpy: for torch, safetensors 0.8 keeps two integers of every tensor that it reads for ever.
        with safetensors.safe_open(path, framework="numpy") as file:
            text = (file.metadata() or {}).get(FORMAT)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no dict
    except (safetensors.SafetensorError, OSError, TypeError, ValueError) as error:
        raise damaged(path, f"it is not a whole safetensors file ({error})") from error
    if not arrays and tensors:
        import torch

        tensors = {name: torch.from_numpy(array) for name, array in tensors.items()}
    return parse_json(path, text) if text is not None else {}, tensors
