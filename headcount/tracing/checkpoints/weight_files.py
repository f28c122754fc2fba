"""The files of a checkpoint, in a folder or on the Hub."""

import json
import os
from pathlib import Path
from typing import Any

from headcount.results import InputError

INDICES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
SINGLE = ("model.safetensors", "pytorch_model.bin")


def weight_files(source: str, revision: str | None) -> list[Path]:
    """Return the files that hold a model's weights: safetensors if there are any, otherwise torch's own.

    Args:
        source: A folder, or a name on the Hub, from which the files are fetched into its cache.
        revision: The Hub's branch, tag or commit.

    Raises:
        InputError: There are no weights, or their index is damaged, incomplete or names files outside of the folder.
    """
    for index, single in zip(INDICES, SINGLE, strict=True):
        if (path := _file(source, single, revision)) is not None:
            return [path]
        if (path := _file(source, index, revision)) is not None:
            return [_shard(source, name, revision) for name in _shard_names(path)]
    raise InputError(f"{source} holds no weights: expected {' or '.join((*SINGLE, *INDICES))}")


def _shard_names(index: Path) -> list[str]:
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        outside = [name for name in names if os.path.isabs(name) or ".." in Path(name).parts]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{index} does not list the files of a checkpoint ({error}): fetch it again") from error
    if outside:
        raise InputError(f"{index} lists {outside[0]!r:.80}: expected files of the model's own folder")
    return names


def _shard(source: str, name: str, revision: str | None) -> Path:
    path = _file(source, name, revision)
    if path is None:
        raise InputError(f"the weights of {source} are incomplete: {name} is missing")
    return path


def _file(source: str, name: str, revision: str | None) -> Path | None:
    """Return a file of a folder or of the Hub, None if it is not there."""
    if Path(source).is_dir():
        path = Path(source) / name
        return path if path.is_file() else None
    from transformers.utils import cached_file

    options: dict[str, Any] = {"_raise_exceptions_for_missing_entries": False}
    cached = cached_file(source, name, revision=revision, **options)
    return None if cached is None else Path(cached)
