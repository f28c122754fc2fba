"""What a run directory says of itself: of which model its results are, and which headcount made it."""

import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from headcount.results.errors import InputError
from headcount.results.storage import files

MANIFEST = "manifest.json"
IDENTITY = ("name", "revision", "fingerprint")


def read(folder: Path) -> dict[str, Any]:
    """The manifest of a run directory.

    Returns:
        Format, schema, time of creation, version, and the model: its name at least, and its sizes where they are known.

    Raises:
        InputError: There is none, or it is damaged, foreign or of a newer schema.
    """
    path = folder / MANIFEST
    if not os.path.isfile(path):
        raise InputError(f"{folder} is not a run directory: expected {MANIFEST} in it, found none; check the path")
    files.check_file(path)
    manifest = files.read_json(path)
    files.check_header(path, manifest)
    # The first runs had none.
    if manifest.pop("sha256", seal := files.seal(manifest)) != seal:
        raise files.damaged(path, "its content does not match its checksum")
    model = manifest.get("model")
    if not isinstance(model, dict) or not isinstance(model.get("name"), str):
        raise files.damaged(path, "it names no model")
    sizes = model.get("sizes", {})
    if not isinstance(sizes, dict) or not all(type(size) is int for size in sizes.values()):
        raise files.damaged(path, f"the sizes of its model are {sizes!r:.80}")
    return manifest


def write(folder: Path, model: dict[str, Any], version: str) -> dict[str, Any]:
    """Makes the manifest of a new run, and says what is in it.

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
    files.write_whole(folder / MANIFEST, (json.dumps(sealed, indent=2) + "\n").encode())
    return manifest


def identity(model: Mapping[str, Any]) -> dict[str, Any]:
    """What decides whether two models are the same."""
    return {key: model.get(key) for key in IDENTITY}


def describe(model: Mapping[str, Any]) -> str:
    """A model's name, and what tells it from another of the same name."""
    details = [f"{key} {model[key]}" for key in IDENTITY[1:] if model.get(key)]
    return f"{model.get('name')} ({', '.join(details)})" if details else str(model.get("name"))
