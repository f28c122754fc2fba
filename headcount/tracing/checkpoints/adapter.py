"""LoRA adapters in PEFT's folders, merged into the weights of the model that they were trained on."""

import json
import re
from collections.abc import Callable, Iterator
from functools import partial
from math import sqrt
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from headcount.results import InputError
from headcount.tracing.checkpoints.file_formats import stored_tensors
from headcount.tracing.checkpoints.stored_tensor import pages
from headcount.tracing.checkpoints.weight_files import INDICES, SINGLE

ADAPTER = "adapter_config.json"

_FILES = ("adapter_model.safetensors", "adapter_model.bin")
_HARMLESS = {
    "peft_type",
    "auto_mapping",
    "base_model_name_or_path",
    "revision",
    "inference_mode",
    "task_type",
    "r",
    "lora_alpha",
    "lora_dropout",
    "target_modules",
    "exclude_modules",
    "modules_to_save",
    "layers_to_transform",
    "layers_pattern",
    "fan_in_fan_out",
    "bias",
    "use_rslora",
    "init_lora_weights",
    "rank_pattern",
    "alpha_pattern",
    "megatron_config",
    "megatron_core",
    "loftq_config",
    "eva_config",
    "qalora_group_size",
    "peft_version",
    "ensure_weight_tying",
}
"""Settings that are read here, or that do not change the numbers of a trained adapter."""
_PLAIN_STARTS = (True, False, None, "gaussian", "orthogonal", "eva")
"""Initialisations that leave the model's own weights as they are."""
_FACTOR = re.compile(r"(?P<module>.+)\.lora_(?P<kind>embedding_)?(?P<side>[AB])(\.default)?(\.weight)?")

Change = Callable[[Tensor], Tensor]


def is_adapter_folder(folder: Path) -> bool:
    """Return True if a folder has an adapter and no whole model."""
    return (folder / ADAPTER).is_file() and not any((folder / name).is_file() for name in (*SINGLE, *INDICES))


def hub_adapter(name: str, revision: str | None) -> Path | None:
    """Return the folder of an adapter that is on the Hub, or in its cache here; None for a whole model, or none.

    A name is one of a model if it has a config.json, and the Hub is asked for nothing else then.
    """
    from huggingface_hub import hf_hub_download, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    for file in ("config.json", ADAPTER):
        try:
            path = Path(hf_hub_download(name, file, revision=revision))
        except (HfHubHTTPError, LocalEntryNotFoundError, OSError, HFValidationError):  # there is none of that name
            continue
        if file != ADAPTER:
            return None
        wanted = [ADAPTER, *_FILES, "*token*", "vocab*", "merges.txt", "*.model", "chat_template*"]
        return Path(snapshot_download(name, revision=path.parent.name, allow_patterns=wanted))
    return None


def base_of(folder: Path) -> tuple[str, str | None]:
    """Return the name or folder of the model that an adapter is for, and its revision on the Hub.

    Raises:
        InputError: The adapter does not say it, or is of a kind that is not merged.
    """
    entries = _entries(folder)
    base, revision = entries.get("base_model_name_or_path"), entries.get("revision")
    if not (isinstance(base, str) and base):
        raise InputError(f"{folder / ADAPTER} names no model: expected a folder or a name as base_model_name_or_path")
    return base, revision if isinstance(revision, str) and revision else None


class Adapter:
    """The changes that a LoRA makes to a model's weights.

    A matrix W becomes W + s·B·A, where s = alpha / r, or alpha / √r of a rank-stabilised LoRA (`use_rslora`). It is
    computed in float32 (float64 where W is) and rounded once to W's format. Tensors that the adapter holds whole
    (biases, `modules_to_save`) take the place of the model's.

    Args:
        folder: A folder with `adapter_config.json` and the adapter's tensors.
        hf: The transformers model that it is for, which may be on meta; it does not change.

    Raises:
        InputError: It is another kind of adapter, is damaged, or does not fit the model.
    """

    def __init__(self, folder: Path, hf: Any) -> None:
        self._folder, self._entries = folder, _entries(folder)
        self._shapes = {name: parameter.shape for name, parameter in hf.named_parameters()}
        self._prefix, self._tied = hf.base_model_prefix, {*hf.all_tied_weights_keys, *hf.all_tied_weights_keys.values()}
        modules = dict(hf.named_modules())
        self._transposed = {f"{name}.weight" for name in modules if type(modules[name]).__name__ == "Conv1D"}
        self._changes: dict[str, Change] = {}
        factors: dict[tuple[str, bool], dict[str, Tensor]] = {}
        for name, tensor in self._tensors():
            if factor := _FACTOR.fullmatch(name):
                factors.setdefault((factor["module"], bool(factor["kind"])), {})[factor["side"]] = tensor
            else:
                self._replace(name.replace(".base_layer.", ".").replace(".modules_to_save.default.", "."), tensor)
        for (module, embedding), sides in factors.items():
            self._add(module, embedding, sides)
        if not self._changes:
            raise self._damaged("it holds no tensors")

    def merge(self, hf: Any) -> None:
        """Change the weights of a model in memory."""
        with torch.no_grad():
            for name, parameter in hf.named_parameters():
                self.change(name, parameter)

    def change(self, name: str, weight: Tensor) -> None:
        """Change one parameter in place, if it is one that the adapter changes."""
        if name in self._changes:
            weight.copy_(self._changes[name](weight))

    def _tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Yield the adapter's tensors by their names in the model."""
        path = next((self._folder / name for name in _FILES if (self._folder / name).is_file()), None)
        if path is None:
            raise InputError(f"{self._folder} holds no {_FILES[0]}: expected the adapter's tensors beside {ADAPTER}")
        for name, stored in stored_tensors(path).items():
            if not stored.dtype.is_floating_point:
                raise self._damaged(f"{name} is stored as {stored.dtype}")
            yield name.removeprefix("base_model.model."), stored.read(pages(stored.page_bytes))

    def _add(self, module: str, embedding: bool, sides: dict[str, Tensor]) -> None:
        """Take note of the product that a matrix gets added."""
        if sides.keys() != {"A", "B"} or any(side.dim() != 2 for side in sides.values()):
            raise self._damaged(f"of {module} it has not one matrix lora_A and one lora_B")
        name = self._parameter(f"{module}.weight")
        transposed = embedding or name in self._transposed
        rank = self._pattern("rank_pattern", module, self._entries.get("r"))
        alpha = self._pattern("alpha_pattern", module, self._entries.get("lora_alpha"))
        if sides["A"].shape[0] != rank or sides["B"].shape[1] != rank or not isinstance(alpha, int | float):
            shapes = f"{list(sides['A'].shape)} and {list(sides['B'].shape)}"
            raise self._damaged(
                f"{ADAPTER} gives {module} r = {rank!r} and alpha = {alpha!r}, its tensors are {shapes}"
            )
        scale = alpha / (sqrt(rank) if self._entries.get("use_rslora") else rank)
        shape = [sides["B"].shape[0], sides["A"].shape[1]]
        self._check_shape(name, shape[::-1] if transposed else shape)
        self._changes[name] = partial(_with_product, sides["A"], sides["B"], scale, transposed)

    def _replace(self, tensor_name: str, tensor: Tensor) -> None:
        """Take note of a tensor that takes the place of a parameter."""
        name = self._parameter(tensor_name)
        self._check_shape(name, list(tensor.shape))
        self._changes[name] = lambda weight: tensor

    def _parameter(self, tensor_name: str) -> str:
        """Return the parameter that a tensor belongs to."""
        names = [
            name for name in (tensor_name, f"{self._prefix}.{tensor_name}") if name in {*self._shapes, *self._tied}
        ]
        changed = f"the adapter in {self._folder} changes {tensor_name}"
        if not names:
            raise InputError(f"{changed}, which the model lacks: expected LoRA of a model with this module; {_MERGE}")
        if names[0] in self._tied:
            raise InputError(
                f"{changed}, which embedding and unembedding share: merged, it would change both; {_MERGE}"
            )
        if names[0] in self._changes:
            raise self._damaged(f"it changes {names[0]} twice")
        return names[0]

    def _check_shape(self, name: str, shape: list[int]) -> None:
        if list(self._shapes[name]) != shape:
            raise InputError(
                f"the adapter in {self._folder} has {shape} for {name}, which is {list(self._shapes[name])} in the "
                "model: is base_model_name_or_path the model that it was trained on?"
            )

    def _pattern(self, setting: str, module: str, default: Any) -> Any:
        """Return the value of the first pattern that a module's name ends with, as PEFT does."""
        patterns = self._entries.get(setting) or {}
        return next((value for end, value in patterns.items() if re.match(rf"(.*\.)?({end})$", module)), default)

    def _damaged(self, reason: str) -> InputError:
        return InputError(f"the adapter in {self._folder} is damaged ({reason}): expected one that PEFT saved")


_MERGE = "merge it with PEFT, merge_and_unload().save_pretrained(new_folder), and open that folder"


def _with_product(a: Tensor, b: Tensor, scale: float, transposed: bool, weight: Tensor) -> Tensor:
    """Return W + scale·B·A."""
    dtype = torch.promote_types(weight.dtype, torch.float32)
    product = scale * (b.to(weight.device, dtype) @ a.to(weight.device, dtype))
    return weight.to(dtype) + (product.T if transposed else product)


def _entries(folder: Path) -> dict[str, Any]:
    """Return the settings of an adapter.

    Raises:
        InputError: They cannot be read, or the adapter is not one that can be merged exactly.
    """
    path = folder / ADAPTER
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        kind = entries.get("peft_type")
    except (OSError, ValueError, AttributeError) as error:
        raise InputError(f"{path} cannot be read ({error}): expected the settings of a PEFT adapter") from error
    if kind != "LORA":
        raise InputError(
            f"the adapter in {folder} is {kind!r:.60}: expected LORA, the kind that is merged here; {_MERGE}"
        )
    start = entries.get("init_lora_weights", True)
    other = [name for name, value in entries.items() if name not in _HARMLESS and value]
    if start not in _PLAIN_STARTS:  # such as pissa, which takes a part out of the model's own weights
        other.append(f"init_lora_weights = {start!r:.60}")
    if other:
        raise InputError(f"the adapter in {folder} is no plain LoRA: {ADAPTER} sets {', '.join(other)}; {_MERGE}")
    return dict(entries)
