"""Devices of a model that is made from another model: the same ones."""

from typing import Any

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
