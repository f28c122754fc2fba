"""The checkpoint of a model: its weights on disk, by the names of an empty model's parameters."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from headcount.results import InputError
from headcount.tracing.checkpoints.adapter import ADAPTER
from headcount.tracing.checkpoints.checkpoint import Checkpoint
from headcount.tracing.sources.pretrained import build_model, read_part


def empty_model(location: str, config: Any, **options: Any) -> Any:
    """Return a model of this configuration on meta; the configuration is copied."""
    with torch.device("meta"):
        return build_model(location, copy.deepcopy(config), **options)


def open_checkpoint(location: str, hf: Any, revision: str | None, *, to_read: bool) -> Checkpoint:
    """Return the checkpoint of a model, which may be on meta.

    Args:
        location: A folder, or a name on the Hub.
        hf: A model of its configuration.
        revision: The Hub's branch, tag or commit.
        to_read: False if the tensors are checked, but not read from here.

    Raises:
        InputError: The tensors on disk do not fit the model, or cannot be read.
    """
    if (choice := getattr(hf.config, "transformers_weights", None)) is not None:
        raise InputError(
            f"config.json of {location} names its weights, transformers_weights = {choice!r:.80}: take that out, and "
            "call them model.safetensors"
        )
    shapes = {name: parameter.shape for name, parameter in hf.named_parameters()}
    checkpoint: Checkpoint = read_part(
        location,
        "weights",
        lambda: Checkpoint(
            location,
            shapes,
            _renaming(hf, shapes),
            revision,
            tied=hf.all_tied_weights_keys,
            unused=hf._keys_to_ignore_on_load_unexpected or (),
            to_read=to_read,
        ),
    )
    return checkpoint


def check_no_adapter(location: str) -> None:
    """Refuse a folder with an adapter beside its weights: it does not say which of the two is meant.

    Raises:
        InputError: There is one.
    """
    if (Path(location) / ADAPTER).is_file():
        raise InputError(adapter_message(location))


def adapter_message(location: str) -> str:
    """Return the message about a model with an adapter."""
    return (
        f"{location} has an adapter, {ADAPTER}, beside whole weights: to open the weights without it, take the file "
        "away; to open them with it, put the adapter's files into a folder of their own, and this folder into "
        f"{ADAPTER} there, as base_model_name_or_path"
    )


def check_quantisation(location: str, config: Any) -> None:
    """Refuse weights that are quantised by a method that transformers does not know: it would ignore the scales.

    Raises:
        InputError: They are.
    """
    quantisation = getattr(config, "quantization_config", None)
    if quantisation is None:
        return
    from transformers.quantizers.auto import AUTO_QUANTIZATION_CONFIG_MAPPING as KNOWN

    entries = quantisation if isinstance(quantisation, dict) else vars(quantisation)
    method = entries.get("quant_method")
    name = str(getattr(method, "value", method))
    if name not in {*KNOWN, "bitsandbytes"}:
        raise InputError(
            f"config.json of {location} says that the weights are quantised by {name!r:.60}, which the installed "
            f"transformers does not apply: expected one of {', '.join(sorted(KNOWN))}, or plain weights"
        )


def _renaming(hf: Any, parameters: dict[str, torch.Size]) -> Callable[[str], str]:
    """Return transformers' renaming of a checkpoint's names, which may be old ones, or those of the model's body."""
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import WeightRenaming, rename_source_key

    renamings = [mapping for mapping in get_model_conversion_mapping(hf) if isinstance(mapping, WeightRenaming)]
    return lambda name: rename_source_key(name, renamings, [], hf.base_model_prefix, parameters)[0]
