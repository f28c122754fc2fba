"""Devices of a model that is made from another model: the same ones, and the memory that is left on them."""

import gc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import psutil  # type: ignore[import-untyped]
import torch
from torch import nn

from headcount.results import InputError


def place_as(hf: Any, template: Any) -> None:
    """Move a model to the devices of another; between several devices, activations are moved in the forward pass.

    Args:
        hf: A transformers model.
        template: A model with the same modules, which has the devices.

    Raises:
        InputError: The template is on several devices, and not through `device_map`.
    """
    device_map = getattr(template, "hf_device_map", {})
    if len(set(device_map.values())) > 1:
        import accelerate

        accelerate.dispatch_model(hf, device_map=device_map, skip_keys=hf._skip_keys_device_placement)
    elif len({parameter.device for parameter in template.parameters()}) > 1:
        raise InputError("the model is on several devices, and was not placed there by device_map: use one device")
    else:
        hf.to(template.get_input_embeddings().weight.device)


def fit_beside(copies: float, free: float) -> bool:
    """Return True if copies of weights leave half of the free bytes of a device to passes."""
    return copies <= free / 2


def copies_fit(sizes: Mapping[torch.device, int]) -> bool:
    """Return True if copies of weights of these sizes in bytes fit beside what the devices hold at present."""
    return all(fit_beside(size, _free_bytes(device)) for device, size in sizes.items())


def _free_bytes(device: torch.device) -> float:
    if device.type != "cuda":
        return float(psutil.virtual_memory().available)
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return float(torch.cuda.mem_get_info(device)[0] + unused)


@contextmanager
def weights_aside(hf: nn.Module, device: str = "cuda") -> Iterator[None]:
    """Hold a model's weights in main memory, and none on its GPUs, for a block that does not run it.

    Every tensor stays the same object, and so do its views: the storages are emptied, and filled again at the end.

    Args:
        hf: The model.
        device: The type of the devices that are emptied; weights on others stay where they are.
    """
    weights = [weight for weight in (*hf.parameters(), *hf.buffers()) if weight.device.type == device]
    storages = {storage.data_ptr(): storage for storage in (weight.untyped_storage() for weight in weights)}
    contents = [(storage, torch.UntypedStorage(storage.nbytes()).copy_(storage)) for storage in storages.values()]
    try:
        for storage, _ in contents:
            storage.resize_(0)
        yield
    finally:
        gc.collect()  # a second model of the block may be part of a circle
        for storage, content in contents:
            storage.resize_(content.nbytes())
            storage.copy_(content)
