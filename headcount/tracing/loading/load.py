"""Open a model: `load_model`."""

import os
from pathlib import Path
from typing import Any

import torch

from headcount.results import InputError
from headcount.tracing.loading.checked_model import OpenedModel, checked_model
from headcount.tracing.loading.in_memory import from_disk
from headcount.tracing.loading.model_objects import from_object
from headcount.tracing.loading.on_server import model_on_server
from headcount.tracing.loading.streamed import streamed_model
from headcount.tracing.model import Model
from headcount.tracing.remote.client import Client
from headcount.tracing.sources.names import resolve
from headcount.tracing.sources.pretrained import read_tokenizer
from headcount.tracing.streaming.memory import as_bytes


def load_model(
    source: Any = None,
    *,
    revision: str | None = None,
    dtype: torch.dtype | str | None = None,
    device_map: Any = None,
    remote: bool | str | Client = False,
    stream: bool = False,
    memory: int | str | None = None,
    tokenizer: Any = None,
) -> Model:
    """Open a model and check its hook map.

    Args:
        source: None or "smollm2-135m" for the default model (fetched on first use); "tiny-opt" for the trained toy that
            comes with the package; a folder, also one of `save_pruned`, or one with a PEFT adapter (LoRA), which is
            merged into the weights of its model; a .gguf file, which is dequantised once into the cache; a name on
            the Hub; or a model object: a transformers model, an nnsight model, a TransformerLens `TransformerBridge`.
            A model object keeps its weights, its attention implementation and its `requires_grad`, and is put in
            evaluation mode.
        revision: The Hub's branch, tag or commit.
        dtype: Number format of the weights; None leaves the checkpoint's.
        device_map: The devices of the layers, as in transformers ("auto", "cuda", ...); None is the CPU.
        remote: Run the model on a server that has it: True for NDIF (the variables NDIF_API_KEY and NDIF_HOST are
            read), a server's address, or a `Client`. Here only its configuration and tokenizer are read, no weights.
        stream: Leave the weights on disk and read them block by block in every run: for models larger than memory.
            `dtype` is then the number format to compute in, which may differ from the stored one.
        memory: The memory that this process may hold when it streams, in bytes or as text like "4GiB"; None is half of
            the machine's.
        tokenizer: The tokenizer of a model object, or one to use in place of the model's; or its folder or name.

    Returns:
        The model, ready to be measured.

    Raises:
        InputError: There is no such model, it cannot be read, its architecture is not supported, or a hook does not
            show the value that its name promises.
    """
    _check_options(device_map, remote, stream, memory)
    if isinstance(tokenizer, str | Path):
        folder = os.path.expanduser(tokenizer)
        tokenizer = read_tokenizer(folder if os.path.isdir(folder) else resolve(tokenizer).tokenizer)
    if remote:
        return model_on_server(source, revision, dtype, device_map, remote, tokenizer)
    if stream:
        return streamed_model(source, revision, dtype, device_map, as_bytes(memory), tokenizer)
    return checked_model(_open(source, revision, dtype, device_map, tokenizer))


def _check_options(device_map: Any, remote: bool | str | Client, stream: bool, memory: int | str | None) -> None:
    if memory is not None and not stream:
        raise InputError("memory is the limit of a streamed model: expected stream=True with it")
    if remote and stream:
        raise InputError("remote and stream exclude each other: a model runs on a server, or from this machine's disk")
    if str(device_map) == "meta":
        raise InputError("the device meta holds no weights to measure: describe_model opens a model without any")


def _open(source: Any, revision: str | None, dtype: Any, device_map: Any, tokenizer: Any) -> OpenedModel:
    """Open a model in memory: one that is read from disk, or a model object."""
    if source is None or isinstance(source, str | Path):
        return from_disk(source, revision, dtype, device_map, tokenizer)
    if revision is not None or dtype is not None or device_map is not None:
        raise InputError("revision, dtype and device_map are for models loaded by name: a model object stays as it is")
    return from_object(source, tokenizer)
