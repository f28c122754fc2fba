"""Structurally pruned models as folders.

`config.json` is that of the whole model; `headcount.json` lists the pruned heads and feed-forward networks; safetensors
files, one a block, hold the weights that are left; the tokenizer lies beside them. None of the files has a name that
transformers looks for: opened there, the blocks that lost parts would get random weights without an error.
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
from headcount.results.internal import Content, read_content, write_content, write_folder_whole
from headcount.tracing.ablation.cut_weights import Means, take_out
from headcount.tracing.ablation.fill import fill
from headcount.tracing.ablation.replacements import CutInEachPass
from headcount.tracing.architectures.anatomy import Anatomy
from headcount.tracing.model import Model
from headcount.tracing.removed_parts import Removed, mark_means, means_of_pruned

NOTE = "headcount.json"
OUTSIDE_BLOCKS = "outside-blocks"
"""The name, without its ending, of the file of weights outside of the blocks."""

_KIND = "PrunedModel"


@dataclass(frozen=True)
class Note:
    """Content of `headcount.json`.

    Attributes:
        name: The whole model's name.
        revision: Its commit.
        heads: The pruned heads, [layer, head] each.
        ffns: The layers whose feed-forward networks are pruned.
        means: The provenance of the means that stay in their place; None where zeros do.
    """

    name: str
    revision: str | None
    heads: list[list[int]]
    ffns: list[int]
    means: dict[str, Any] | None = None


def is_pruned_folder(source: str | Path) -> bool:
    """Return True if a folder holds a pruned model."""
    return os.path.isfile(Path(os.path.expanduser(source)) / NOTE)


def save_pruned(model: Model, folder: str | Path) -> None:
    """Save a structurally pruned model, so that `load_model(folder)` opens it again.

    Other libraries cannot open the folder, since its layers differ in size: transformers says that there is no file of
    weights. To evaluate it with lm-eval: `lm_eval.simple_evaluate(HarnessModel(load_model(folder)), tasks=[...])`.

    Args:
        model: A model that `pruned` returned.
        folder: A folder that does not exist yet, or an empty one. It appears whole or not at all.

    Raises:
        InputError: The model is whole, has no weights, or the folder is not empty or cannot be written.
    """
    path = Path(os.path.expanduser(folder))
    if model.pruned is None:
        raise InputError(f"{model.name} is not structurally pruned: save it with model.hf.save_pretrained(folder)")
    if any(parameter.is_meta for parameter in model.hf.parameters()):
        raise InputError(f"{model.name} has no weights to save: expected a model that is in memory")
    if any(isinstance(module, CutInEachPass) for module in model.hf.modules()):
        raise InputError(f"{model.name} is cut in each pass, and has no cut weights to save: prune it with them")
    try:
        if path.exists() and any(path.iterdir()):
            raise InputError(f"{path} is not empty: expected a new folder for the pruned model")
        write_folder_whole(path, NOTE, lambda _, new_folder: _write(model, new_folder))
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}; choose a folder that can be written") from error


def read_pruned(folder: Path, hf: Any, anatomy: Anatomy, dtype: torch.dtype | None) -> Note:
    """Prune an empty whole model as the folder's note says, and put the folder's weights into it.

    Args:
        folder: A folder that `save_pruned` wrote.
        hf: A whole model of the folder's configuration, on meta; changed in place.
        anatomy: Its parts.
        dtype: Number format of the weights; None leaves the saved one.

    Returns:
        The folder's note.

    Raises:
        InputError: The note or the weights are damaged, or do not fit the configuration.
    """
    note = _read_note(folder / NOTE)
    try:
        removed = Removed.of(anatomy.sizes, [tuple(head) for head in note.heads], note.ffns)
        take_out(hf, anatomy, removed, None if note.means is None else Means.zeros(anatomy.sizes))
        if note.means is not None:
            mark_means(hf, note.means)
        fill(hf, dict(_tensors(folder, dtype, {name for name, _ in hf.named_parameters()})))
    except (InputError, OSError, RuntimeError, ValueError, safetensors.SafetensorError) as error:
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"the pruned model in {folder} cannot be opened: {reason}; save it again") from error
    return note


def _write(model: Model, folder: Path) -> None:
    folder.mkdir()
    model.hf.config.save_pretrained(folder)
    if (generation := getattr(model.hf, "generation_config", None)) is not None:
        generation.save_pretrained(folder)
    if model.tokenizer is not None:
        model.tokenizer.save_pretrained(folder)
    for name, tensors in _by_file(model).items():
        safetensors.torch.save_file(tensors, folder / f"{name}.safetensors")
    removed: Any = model.pruned
    fields = {
        "name": model.name,
        "revision": model.revision,
        "heads": removed.heads.nonzero().tolist(),
        "ffns": removed.ffns.nonzero().flatten().tolist(),
        **({} if (means := means_of_pruned(model.hf)) is None else {"means": means}),
    }
    write_content(folder / NOTE, Content(_KIND, fields))


def _by_file(model: Model) -> dict[str, dict[str, Tensor]]:
    """Return parameters and all buffers, also those that are not in the state dict, by the file they go to."""
    root = f"{model.family.layers}."
    tensors: dict[str, dict[str, Tensor]] = {}
    for name, tensor in [*model.hf.named_parameters(), *model.hf.named_buffers()]:
        block = name.removeprefix(root).partition(".")[0] if name.startswith(root) else ""
        file = f"block-{int(block):03}" if block else OUTSIDE_BLOCKS
        tensors.setdefault(file, {})[name] = tensor.detach().contiguous()
    return tensors


def _tensors(folder: Path, dtype: torch.dtype | None, parameters: set[str]) -> Iterator[tuple[str, Tensor]]:
    for path in sorted(folder.glob("*.safetensors")):
        for name, tensor in safetensors.torch.load_file(path).items():
            yield name, tensor.to(dtype) if dtype is not None and name in parameters else tensor


def _read_note(path: Path) -> Note:
    """Read `headcount.json`.

    Raises:
        InputError: It is damaged, or is another kind of file.
    """
    try:
        content = read_content(path)
        if content.kind != _KIND:
            raise InputError(f"it is {content.kind}, not {_KIND}")
        return Note(**content.fields)
    except (InputError, TypeError) as error:
        raise InputError(
            f"{path} does not say what was pruned: it is damaged or was not written by save_pruned; save the "
            "pruned model again"
        ) from error
