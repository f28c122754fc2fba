"""A structurally pruned model as a folder.

`config.json` is that of the whole model; `headcount.json` says which heads and feed-forward networks are gone;
safetensors files, one a block, hold what is left; the tokenizer lies beside them.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from headcount.results import InputError
from headcount.results.storage import files
from headcount.results.storage.files import write_folder_whole
from headcount.tracing.architectures.anatomy import Anatomy
from headcount.tracing.model import Model
from headcount.tracing.removed import Removed
from headcount.tracing.surgery import fill, take_out

NOTE = "headcount.json"
_KIND = "PrunedModel"


@dataclass(frozen=True)
class Note:
    """What `headcount.json` says: the whole model's name and commit, and what is gone."""

    name: str
    revision: str | None
    heads: list[list[int]]
    ffns: list[int]


def is_one(source: str | Path) -> bool:
    """Whether a pruned model lies there."""
    return os.path.isfile(Path(os.path.expanduser(source)) / NOTE)


def save_pruned(model: Model, folder: str | Path) -> None:
    """Save a structurally pruned model, so that `load_model(folder)` opens it again.

    Args:
        model: What `pruned` returned.
        folder: Where; a folder that does not exist yet, or an empty one. It appears whole or not at all.

    Raises:
        InputError: The model is whole, has no weights, or the folder is not empty or cannot be written.
    """
    path = Path(os.path.expanduser(folder))
    if model.pruned is None:
        raise InputError(f"{model.name} is not structurally pruned: save it with model.hf.save_pretrained(folder)")
    if any(parameter.is_meta for parameter in model.hf.parameters()):
        raise InputError(f"{model.name} has no weights to save: expected a model that is in memory")
    try:
        if path.exists() and any(path.iterdir()):
            raise InputError(f"{path} is not empty: expected a new folder for the pruned model")
        write_folder_whole(path, NOTE, lambda _, made: _write(model, made))
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}; choose a folder that can be written") from error


def read(folder: Path, hf: Any, dtype: torch.dtype | None) -> Note:
    """Prune a whole model that is on meta as the folder's note says, and give it the folder's weights.

    Args:
        folder: What `save_pruned` wrote.
        hf: A whole model of the folder's configuration; changed in place.
        dtype: Number format of the weights; None keeps the saved one.

    Raises:
        InputError: The note or the weights are damaged, or do not fit the configuration.
    """
    note = _note(folder / NOTE)
    anatomy = Anatomy.of(hf)
    try:
        take_out(hf, anatomy, Removed.of(anatomy.sizes, note.heads, note.ffns))
        fill(hf, dict(_tensors(folder, dtype, {name for name, _ in hf.named_parameters()})))
    except (InputError, OSError, RuntimeError, ValueError, safetensors.SafetensorError) as error:
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"the pruned model in {folder} cannot be opened: {reason}; save it again") from error
    return note


def _write(model: Model, made: Path) -> None:
    made.mkdir()
    model.hf.config.save_pretrained(made)
    if (generation := getattr(model.hf, "generation_config", None)) is not None:
        generation.save_pretrained(made)
    if model.tokenizer is not None:
        model.tokenizer.save_pretrained(made)
    for name, tensors in _by_block(model).items():
        safetensors.torch.save_file(tensors, made / f"{name}.safetensors")
    removed: Any = model.pruned
    fields = {
        "name": model.name,
        "revision": model.revision,
        "heads": removed.heads.nonzero().tolist(),
        "ffns": removed.ffns.nonzero().flatten().tolist(),
    }
    files.write(made / NOTE, files.Content(_KIND, fields))


def _by_block(model: Model) -> dict[str, dict[str, Tensor]]:
    """Parameters and buffers, those of the configuration's making too, by the file they go to."""
    root = f"{model.family.layers}."
    found: dict[str, dict[str, Tensor]] = {}
    for name, tensor in [*model.hf.named_parameters(), *model.hf.named_buffers()]:
        block = name.removeprefix(root).partition(".")[0] if name.startswith(root) else ""
        file = f"block-{int(block):03}" if block else "model"
        found.setdefault(file, {})[name] = tensor.detach().contiguous()
    return found


def _tensors(folder: Path, dtype: torch.dtype | None, parameters: set[str]) -> Iterator[tuple[str, Tensor]]:
    for path in sorted(folder.glob("*.safetensors")):
        for name, tensor in safetensors.torch.load_file(path).items():
            yield name, tensor.to(dtype) if dtype is not None and name in parameters else tensor


def _note(path: Path) -> Note:
    """Read `headcount.json`.

    Raises:
        InputError: It is damaged, or something else.
    """
    try:
        content = files.read(path)
        if content.kind != _KIND:
            raise InputError(f"it is {content.kind}, not {_KIND}")
        return Note(**content.fields)
    except (InputError, TypeError) as error:
        raise InputError(
            f"{path} does not say what was pruned: it is damaged or was not written by save_pruned; save the "
            "pruned model again"
        ) from error
