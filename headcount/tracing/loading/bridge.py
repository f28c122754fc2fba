"""A clean transformers model out of a TransformerLens bridge."""

import copy
from typing import Any

from headcount.results import InputError


def is_bridge(source: Any) -> bool:
    """Whether this is a TransformerLens `TransformerBridge`, told without importing the library."""
    return any(
        kind.__name__ == "TransformerBridge" and kind.__module__.startswith("transformer_lens")
        for kind in type(source).__mro__
    )


def clean_model(bridge: Any) -> Any:
    """The transformers model that a bridge was made from, around the same tensors.

    The bridge wraps the modules of its model and forces eager attention; the model built here has neither, and the
    bridge stays as it is.

    Raises:
        InputError: The bridge is in compatibility mode, or its weights were processed: they are no longer the model's.
    """
    if getattr(bridge, "compatibility_mode", False) or getattr(bridge, "_weights_processed", False):
        raise InputError(
            "this TransformerBridge is in compatibility mode, in which its weights are folded and centred: pass a "
            "bridge without enable_compatibility_mode() or process_weights(), or the transformers model itself"
        )
    import torch

    original = bridge.original_model
    config = copy.deepcopy(original.config)
    config._attn_implementation = None  # transformers' own choice, which the bridge overrode
    with torch.device("meta"):
        model = type(original)(config)
    tensors = {name.replace("._original_component", ""): tensor for name, tensor in original.state_dict().items()}
    model.load_state_dict(tensors, strict=False, assign=True)
    _take_buffers(model, original)
    model.tie_weights()
    left = [name for name, tensor in [*model.named_parameters(), *model.named_buffers()] if tensor.is_meta]
    if left:
        raise InputError(
            f"the bridge's model lacks {len(left)} tensors, first {left[0]}: pass the transformers model itself"
        )
    return model


def _take_buffers(model: Any, original: Any) -> None:
    """Buffers outside the state dict (rotary frequencies, embedding scales), from the modules of the same name."""
    theirs = {name.replace("._original_component", ""): buffer for name, buffer in original.named_buffers()}
    for name, buffer in list(model.named_buffers()):
        if buffer.is_meta and name in theirs:
            owner, _, leaf = name.rpartition(".")
            model.get_submodule(owner).register_buffer(leaf, theirs[name], persistent=False)
