"""Models read from disk into memory: from folders, the Hub, and folders of pruned models."""

import os
from pathlib import Path
from typing import Any

import transformers

from headcount.results import InputError
from headcount.tracing.ablation.saved import is_pruned_folder, read_pruned
from headcount.tracing.architectures.anatomy import Anatomy, is_known
from headcount.tracing.checkpoints.adapter import Adapter
from headcount.tracing.checkpoints.checkpoint import unplaced_tensors
from headcount.tracing.loading.checked_model import OpenedModel, checked_model
from headcount.tracing.loading.stored_weights import (
    adapter_message,
    check_no_adapter,
    check_quantisation,
    check_type,
    empty_model,
    open_checkpoint,
)
from headcount.tracing.sources.names import resolve
from headcount.tracing.sources.pretrained import (
    NO_CODE,
    as_dtype,
    commit_of,
    read_configuration,
    read_part,
    read_tokenizer,
)
from headcount.tracing.sources.text_part import text_config, text_part


def from_disk(
    source: str | Path | None, revision: str | None, dtype: Any, device_map: Any, tokenizer: Any
) -> OpenedModel:
    """Read a model by its name or folder; arguments as in `load_model`.

    Raises:
        InputError: There is no such model, or it cannot be read.
    """
    if source is not None and is_pruned_folder(source):
        return _from_pruned_folder(Path(os.path.expanduser(source)), revision, dtype, device_map, tokenizer)
    weights_dtype = as_dtype(dtype)
    location, name, revision, adapter = place = resolve(source, revision)
    config = read_configuration(location, revision, multimodal=True)
    multimodal = text_config(config) is not config
    if not multimodal:
        check_type(config)
    check_no_adapter(location)
    check_quantisation(location, config)
    quantised = getattr(config, "quantization_config", None) is not None
    if quantised and adapter is not None:
        raise InputError(
            f"the weights of {location} are quantised: the adapter in {adapter} cannot be merged into them"
        )
    # Of quantised weights and other types, such as experts' matrices one by one, transformers alone knows the tensors.
    if not (quantised or multimodal) and is_known(config):
        open_checkpoint(location, empty_model(location, config), revision, to_read=False)
    hf = _read_weights(location, config, weights_dtype, revision, device_map)
    hf.requires_grad_(False)
    if adapter is not None:
        Adapter(adapter, hf).merge(hf)
    if multimodal:
        hf, name = text_part(hf), f"{name}, text only"
    if tokenizer is None:
        tokenizer = read_tokenizer(place.tokenizer, revision)
    return OpenedModel(hf, tokenizer, name, commit_of(location, config, revision))


def _read_weights(location: str, config: Any, dtype: Any, revision: str | None, device_map: Any) -> Any:
    options = {"weights_only": True, "output_loading_info": True, **NO_CODE}
    options |= {"revision": revision} if revision else {}
    options |= {"device_map": device_map} if device_map is not None else {}
    multimodal = text_config(config) is not config
    read = (transformers.AutoModelForMultimodalLM if multimodal else transformers.AutoModelForCausalLM).from_pretrained
    hf, report = read_part(location, "weights", lambda: read(location, config=config, dtype=dtype or "auto", **options))
    if missing := sorted(report["missing_keys"]):
        raise InputError(
            f"the weights of {location} are incomplete: {len(missing)} tensors are missing, first {missing[0]}"
        )
    if unplaced := unplaced_tensors(report["unexpected_keys"]):
        raise InputError(
            f"transformers has no place for {len(unplaced)} tensors of {location}, first {unplaced[0]}: without them, "
            "such as the scales of quantised weights, the numbers would be wrong; expected weights that are not "
            "quantised, or quantised by a method that the installed transformers applies"
        )
    if getattr(hf, "_hf_peft_config_loaded", False):
        raise InputError(adapter_message(location))
    return hf


def _from_pruned_folder(folder: Path, revision: str | None, dtype: Any, device_map: Any, tokenizer: Any) -> OpenedModel:
    """Read a folder that `save_pruned` has written."""
    devices = list(device_map.values()) if isinstance(device_map, dict) else [device_map or "cpu"]
    if revision is not None or len(devices) != 1 or devices[0] in ("auto", "balanced", "sequential"):
        raise InputError(f"{folder} holds a pruned model: expected no revision, and one device as device_map")
    config = read_configuration(folder)
    check_type(config)
    hf = empty_model(str(folder), config)
    whole = None if is_known(config) else checked_model(OpenedModel(hf, None, str(folder)))
    note = read_pruned(folder, hf, Anatomy.of(hf) if whole is None else whole.anatomy, as_dtype(dtype))
    if not tokenizer and (folder / "tokenizer_config.json").is_file():
        tokenizer = read_tokenizer(folder)
    return OpenedModel(hf.to(devices[0]), tokenizer, note.name, note.revision, whole=whole)
