"""Models whose blocks stay on disk."""

from pathlib import Path
from typing import Any

import torch

from headcount.results import InputError
from headcount.tracing.ablation.saved import is_pruned_folder
from headcount.tracing.architectures.anatomy import is_known
from headcount.tracing.checkpoints.adapter import Adapter
from headcount.tracing.loading.checked_model import OpenedModel, checked_model
from headcount.tracing.loading.stored_weights import (
    check_no_adapter,
    check_type,
    empty_model,
    model_to_fill,
    open_checkpoint,
)
from headcount.tracing.model import Model
from headcount.tracing.sources.names import resolve
from headcount.tracing.sources.pretrained import as_dtype, commit_of, read_configuration, read_tokenizer
from headcount.tracing.streaming.blocks import Blocks
from headcount.tracing.streaming.runner import StreamingRunner
from headcount.tracing.wrapping import take_limits


def streamed_model(
    source: Any, revision: str | None, dtype: Any, device_map: Any, memory: int, tokenizer: Any
) -> Model:
    """Open a model to be streamed; arguments as in `load_model`, `memory` in bytes.

    Raises:
        InputError: There is no such model, it cannot be streamed, or the memory is too little.
    """
    if not (source is None or isinstance(source, str | Path)) or device_map not in (None, "cpu"):
        raise InputError("stream=True takes a folder or a name on the Hub, and computes on the CPU")
    if source is not None and is_pruned_folder(source):
        raise InputError(f"{source} holds a pruned model, which is read into memory: leave stream=True out")
    location, name, revision, adapter = place = resolve(source, revision)
    config = read_configuration(location, revision)
    check_type(config)
    check_no_adapter(location)
    weights_dtype = as_dtype(dtype) or config.dtype or torch.float32
    if getattr(config, "quantization_config", None) is not None:
        raise InputError(f"the weights of {location} are quantised, which cannot be streamed: leave stream=True out")
    empty = empty_model(location, config, dtype=weights_dtype)
    checkpoint = open_checkpoint(location, empty, revision, to_read=True)  # before memory is taken
    changes = None if adapter is None else Adapter(adapter, empty)
    if is_known(config):
        empty.config.pad_token_id = None  # some models search the tokens for it, and tokens on meta have no values
    checked = checked_model(OpenedModel(empty, None, name), in_blocks=True)
    hf = model_to_fill(location, config, empty, weights_dtype)
    commit = commit_of(location, config, revision)
    tokenizer = tokenizer or read_tokenizer(place.tokenizer, revision)
    model = Model(hf, tokenizer, name=name, revision=commit, anatomy=checked.anatomy)
    take_limits(model, checked)
    blocks = Blocks(hf, model.family.layers, checkpoint, weights_dtype, changes)
    model.stream = StreamingRunner(blocks, model.family, model.sizes, memory)
    return model
