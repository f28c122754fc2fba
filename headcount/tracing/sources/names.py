"""Names of models: the default model, the tiny OPT, folders, and names on the Hub."""

import os
import re
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple

from headcount.results import InputError
from headcount.tracing.checkpoints.adapter import base_of, hub_adapter, is_adapter_folder
from headcount.tracing.sources import default_model
from headcount.tracing.sources.gguf import dequantised, gguf_file
from headcount.tracing.sources.pretrained import has_tokenizer

TINY_OPT = Path(__file__).parent.parent / "tiny_opt"


class Source(NamedTuple):
    """A place to read a model from.

    Attributes:
        location: A folder, or a name on the Hub.
        name: The model's name in results.
        revision: The Hub's branch, tag or commit; None for the newest, and for a folder.
        adapter: The folder of an adapter that is to be merged into the weights, if there is one.
    """

    location: str
    name: str
    revision: str | None = None
    adapter: Path | None = None

    @property
    def tokenizer(self) -> str:
        """The place of the tokenizer: an adapter may have its own."""
        return str(self.adapter) if self.adapter is not None and has_tokenizer(self.adapter) else self.location


def resolve(source: str | Path | None, revision: str | None = None) -> Source:
    """Return the place that a name, a folder or None (the default model) stands for.

    Args:
        source: The name or folder.
        revision: A revision that is to be read; folders have none. Of an adapter in a folder it is its model's, of one
            on the Hub the adapter's own.

    Raises:
        InputError: There is no such model, or no such revision of it.
    """
    resolved = _resolve(source)
    named = resolved == Source(str(source), str(source)) and not os.path.exists(resolved.location)
    if named and (folder := hub_adapter(resolved.location, revision)):
        return _with_adapter(folder, f"{source} at {folder.name:.12}")
    revision = revision or resolved.revision
    if revision is not None and os.path.isdir(resolved.location):
        raise InputError(f"{resolved.name} is in a folder, which has no revision {revision!r:.80}: leave revision out")
    return resolved._replace(revision=revision)


def _resolve(source: str | Path | None) -> Source:
    if source is None or source == default_model.NAME:
        folder, title = default_model.fetch()
        return Source(str(folder), title)
    if source == "tiny-opt":
        return Source(str(TINY_OPT), "tiny-opt")
    path = Path(os.path.expanduser(source))
    if (file := gguf_file(path)) is not None:
        folder, title = dequantised(file)
        return Source(str(folder), title)
    if os.path.isdir(path):
        if is_adapter_folder(path):
            return _with_adapter(path)
        if not (path / "config.json").is_file():
            raise InputError(
                f"{path} holds no model: expected a folder with config.json and weights, a PEFT adapter or a .gguf file"
            )
        return Source(str(path), path.resolve().name)
    if isinstance(source, Path) or path.suffix == ".gguf" or not re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)?", source):
        raise InputError(
            f"no model at {source}: expected a folder, a .gguf file, a name on the Hub, {default_model.NAME} or "
            f"tiny-opt{_similar(path)}"
        )
    return Source(source, source)


def _with_adapter(folder: Path, title: str = "") -> Source:
    """Return the place of the model that an adapter is for, named after both; the title is that of one on the Hub."""
    base, revision = base_of(folder)
    path = Path(os.path.expanduser(base))
    if is_adapter_folder(path):
        raise InputError(f"the adapter in {folder} is for {base}, which is an adapter too: merge that first")
    try:
        location, name, *_ = _resolve(base)
    except InputError as error:
        raise InputError(
            f"the adapter in {folder} is for {base!r:.200}, which is not here ({error}); if the model is in another "
            "place, set base_model_name_or_path in adapter_config.json to it"
        ) from error
    revision = None if os.path.isdir(location) else revision
    return Source(location, f"{name} with adapter {title or folder.resolve().name}", revision, folder)


def _similar(path: Path) -> str:
    """Return a question with names beside a path that are like it; empty if there are none."""
    beside = [entry.name for entry in path.parent.iterdir()] if os.path.isdir(path.parent) else []
    found = get_close_matches(path.name, beside, n=3, cutoff=0.6)
    return f". Did you mean {', '.join(str(path.parent / name) for name in found)}?" if found else ""
