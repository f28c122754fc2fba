"""The manifest of a run directory: the model that its results are of, and the headcount that wrote it."""

import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from headcount.results.errors import InputError, damaged
from headcount.results.storage import files
from headcount.results.storage.atomic import write_whole
from headcount.results.storage.json_text import read_json

MANIFEST = "manifest.json"
IDENTITY = ("name", "revision", "fingerprint")


def read(folder: Path) -> dict[str, Any]:
    """Read the manifest of a run directory.

    Returns:
        Format, schema, time of creation, version, and the model: its name at least, and its sizes where they are known.

    Raises:
        InputError: There is none, or it is damaged, foreign or of a newer schema.
    """
    path = folder / MANIFEST
    if not os.path.isfile(path):
        raise InputError(f"{folder} is not a run directory: expected {MANIFEST} in it, found none; check the path")
    files.check_file(path)
    manifest = read_json(path)
    files.check_header(path, manifest)
    # The first runs had no seal.
    if manifest.pop("sha256", seal := files.seal(manifest)) != seal:
        raise damaged(path, "its content does not match its checksum")
    model = manifest.get("model")
    if not isinstance(model, dict) or not isinstance(model.get("name"), str):
        raise damaged(path, "it names no model")
    sizes = model.get("sizes", {})
    if not isinstance(sizes, dict) or not all(type(size) is int for size in sizes.values()):
        raise damaged(path, f"the sizes of its model are {sizes!r:.80}")
    return manifest


def write(folder: Path, model: dict[str, Any], version: str) -> dict[str, Any]:
    """Write the manifest of a new run, and return it.

    Raises:
        InputError: It cannot be written.
    """
    manifest = {
        "format": files.FORMAT,
        "schema": files.SCHEMA,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "headcount": version,
        "model": model,
    }
    sealed = manifest | {"sha256": files.seal(manifest)}
    write_whole(folder / MANIFEST, (json.dumps(sealed, indent=2) + "\n").encode())
    return manifest


def identity(model: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries that decide whether two models are the same."""
    return {key: model.get(key) for key in IDENTITY}


def describe(model: Mapping[str, Any]) -> str:
    """Return a model's name, and the entries that set it apart from another of the same name."""
    details = [f"{key} {model[key]}" for key in IDENTITY[1:] if model.get(key)]
    return f"{model.get('name')} ({', '.join(details)})" if details else str(model.get("name"))
