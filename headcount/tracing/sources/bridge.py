"""TransformerLens bridges turned back into transformers models."""

import copy
from typing import Any

import torch

from headcount.results import InputError


def is_bridge(source: Any) -> bool:
    """Return True for a TransformerLens `TransformerBridge`; the library is not imported for it."""
    return any(
        cls.__name__ == "TransformerBridge" and cls.__module__.startswith("transformer_lens")
        for cls in type(source).__mro__
    )


def model_of_bridge(bridge: Any) -> Any:
    """Return the transformers model that a bridge was made from, around the same tensors.

    The bridge wraps the modules of its model and forces eager attention; the returned model has neither, and the bridge
    does not change.

    Raises:
        InputError: The bridge is in compatibility mode, or its weights were processed: they are no longer the model's.
    """
    if getattr(bridge, "compatibility_mode", False) or getattr(bridge, "_weights_processed", False):
        raise InputError(
            "this TransformerBridge is in compatibility mode, in which its weights are folded and centred: pass a "
            "bridge without enable_compatibility_mode() or process_weights(), or the transformers model itself"
        )
    original = bridge.original_model
    config = copy.deepcopy(original.config)
    config._attn_implementation = None  # transformers' own choice, which the bridge overrode
    with torch.device("meta"):
        model = type(original)(config)
    tensors = {_original_name(name): tensor for name, tensor in original.state_dict().items()}
    model.load_state_dict(tensors, strict=False, assign=True)
    _take_buffers(model, original)
    model.tie_weights()
    missing = [name for name, tensor in [*model.named_parameters(), *model.named_buffers()] if tensor.is_meta]
    if missing:
        raise InputError(
            f"the bridge's model lacks {len(missing)} tensors, first {missing[0]}: pass the transformers model itself"
        )
    return model


def _take_buffers(model: Any, original: Any) -> None:
    """Take buffers outside of the state dict (rotary frequencies, embedding scales) from modules of the same name."""
    buffers = {_original_name(name): buffer for name, buffer in original.named_buffers()}
    for name, buffer in list(model.named_buffers()):
        if buffer.is_meta and name in buffers:
            path, _, leaf = name.rpartition(".")
            model.get_submodule(path).register_buffer(leaf, buffers[name], persistent=False)


def _original_name(name: str) -> str:
    return name.replace("._original_component", "")
