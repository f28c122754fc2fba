"""Where a model that is made from another one goes: to the same device, or to the same ones."""

from typing import Any

from headcount.results import InputError


def place_as(made: Any, hf: Any) -> None:
    """Put a model where another is; activations are led from device to device if that is on several.

    Args:
        made: A model with the modules of the other.
        hf: The other.

    Raises:
        InputError: It is on several devices, and transformers did not place it there.
    """
    placing = getattr(hf, "hf_device_map", {})
    if len(set(placing.values())) > 1:
        import accelerate

        accelerate.dispatch_model(made, device_map=placing, skip_keys=made._skip_keys_device_placement)
    elif len({parameter.device for parameter in hf.parameters()}) > 1:
        raise InputError("the model is on several devices, and was not placed there by device_map: use one device")
    else:
        made.to(hf.get_input_embeddings().weight.device)
