"""The checkpoint of a model: its weights on disk, by the names of an empty model's parameters."""

import copy
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from headcount.results import InputError
from headcount.tracing.architectures.anatomy import family_of, is_known, unsupported
from headcount.tracing.checkpoints.adapter import ADAPTER
from headcount.tracing.checkpoints.checkpoint import Checkpoint
from headcount.tracing.checkpoints.converted_tensor import Convert
from headcount.tracing.sources.pretrained import build_model, read_part
from headcount.tracing.streaming.blocks import stored_buffers


def empty_model(location: str, config: Any, **options: Any) -> Any:
    """Return a model of this configuration on meta; the configuration is copied."""
    with torch.device("meta"):
        return build_model(location, copy.deepcopy(config), **options)


def check_type(config: Any) -> None:
    """Refuse a type that cannot open, before its weights are read: of unknown code, or no decoder."""
    import transformers

    if is_known(config):
        return
    if type(config) not in transformers.MODEL_FOR_CAUSAL_LM_MAPPING:
        family_of(config)  # raises
    if not getattr(config, "is_decoder", True):
        other = "any whose parts can be found by running it; its configuration says is_decoder = false: it is none"
        raise unsupported(config, other)


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
    shapes |= {name: buffer.shape for name, buffer in stored_buffers(hf).items()}
    rename, convert = _conversion(hf, shapes)
    checkpoint: Checkpoint = read_part(
        location,
        "weights",
        lambda: Checkpoint(
            location,
            shapes,
            rename,
            revision,
            convert=convert,
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


def keep_unpacked(hf: Any) -> None:
    """Keep bitsandbytes from packing 4-bit weights for the CPU when they first run.

    It cannot put them back as they were: to read or save packed weights changes them, and all numbers after that.

    Raises:
        InputError: They are packed already.
    """
    for name, module in hf.named_modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            state = getattr(getattr(module, "weight", None), "quant_state", None)
            if getattr(state, "packing_format_for_cpu", False):
                raise InputError(
                    f"bitsandbytes has packed {name} for the CPU, and to read such weights changes them: pass the name "
                    "or folder of the model, or one that has not run since it was read"
                )
            module.support_avx512bf16_for_cpu = False


def model_to_fill(location: str, config: Any, empty: Any, dtype: torch.dtype) -> Any:
    """Return a model whose parameters are on meta and whose buffers are computed, in float32 as transformers does.

    Args:
        location: The model's folder or name, for the error message.
        config: Its configuration.
        empty: The same model, wholly on meta, built in the number format; some parameters get float32 there, as
            transformers gives them.
        dtype: The number format.
    """
    import accelerate

    precise = [pattern.replace("*", ".*") for pattern in empty._get_dtype_plan(dtype)]
    for name, parameter in empty.named_parameters():
        if any(re.search(pattern, name) for pattern in precise):
            parameter.data = parameter.data.float()
    with accelerate.init_empty_weights(include_buffers=False):
        hf = build_model(location, config, dtype=torch.float32)
    hf.config.dtype = dtype
    hf.tie_weights()
    for name, weight in [*hf.named_parameters(), *hf.named_buffers()]:
        path, _, leaf = name.rpartition(".")
        weight.data = weight.data.to(getattr(empty.get_submodule(path), leaf).dtype)
    return hf


def _conversion(hf: Any, parameters: dict[str, torch.Size]) -> tuple[Callable[[str], tuple[str, str | None]], Convert]:
    """Return transformers' renaming of a checkpoint's names, and its making of one parameter out of several tensors.

    Names may be old ones, or those of the model's body.
    """
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import WeightConverter, WeightRenaming, rename_source_key

    mapping = get_model_conversion_mapping(hf)
    renamings = [entry for entry in mapping if isinstance(entry, WeightRenaming)]
    converters = [entry for entry in mapping if isinstance(entry, WeightConverter)]
    by_pattern = {pattern: converter for converter in converters for pattern in converter.source_patterns}

    def rename(name: str) -> tuple[str, str | None]:
        parameter, pattern = rename_source_key(name, renamings, converters, hf.base_model_prefix, parameters)
        if parameter not in parameters and name in parameters:
            return name, None
        return parameter, pattern

    def convert(key: str, parts: dict[str, list[Tensor]]) -> dict[str, Tensor]:
        converter = copy.deepcopy(by_pattern[next(iter(parts))])
        for pattern, tensors in parts.items():
            for tensor in tensors:
                converter.add_tensor(key, key, pattern, tensor)
        return dict(converter.convert(key, model=hf, config=hf.config))

    return rename, convert
