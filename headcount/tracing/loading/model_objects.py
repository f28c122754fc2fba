"""Model objects opened: transformers models, nnsight models, TransformerLens bridges."""

from typing import Any

from torch import nn

from headcount.results import InputError
from headcount.tracing.loading.checked_model import OpenedModel
from headcount.tracing.sources.bridge import is_bridge, model_of_bridge
from headcount.tracing.sources.pretrained import read_part
from headcount.tracing.sources.text_part import is_multimodal, text_part


def _check_plain(source: Any) -> None:
    """Refuse models that other libraries have wrapped, with the way back.

    Raises:
        InputError: It is one.
    """
    if hasattr(source, "_orig_mod"):
        raise InputError("a compiled model has no modules for hooks: pass model._orig_mod, that before torch.compile")
    if hasattr(source, "merge_and_unload") or getattr(source, "_hf_peft_config_loaded", False):
        raise InputError(
            "a model with adapters is not read as its parts: pass model.merge_and_unload(), in which they are merged"
        )
    layers = source.modules() if isinstance(source, nn.Module) else ()
    if any(hasattr(module, "lora_A") for module in layers):
        raise InputError(f"{type(source).__name__} has LoRA modules: merge them first, peft_model.merge_and_unload()")


def from_object(source: Any, tokenizer: Any) -> OpenedModel:
    """Open a model object.

    Args:
        source: The object.
        tokenizer: A tokenizer to use in place of the object's, or None.

    Raises:
        InputError: It is no model, or a bridge whose weights were processed.
    """
    if is_bridge(source):
        return OpenedModel(model_of_bridge(source), tokenizer or source.tokenizer, source.cfg.model_name)
    _check_plain(source)
    if getattr(source, "dispatched", True) is False:  # an nnsight model reads its weights when they are first needed
        read_part(type(source).__name__, "weights", source.dispatch)
    wrapped = getattr(source, "_module", None)
    hf = source if wrapped is None else wrapped
    if not isinstance(hf, nn.Module) or not hasattr(hf, "config"):
        raise InputError(
            f"cannot load a model from {type(source).__name__}: expected a name, a folder, a transformers model, an "
            "nnsight model or a TransformerBridge"
        )
    name = getattr(hf.config, "_name_or_path", "") or type(hf).__name__
    tokenizer = tokenizer or getattr(source, "tokenizer", None)
    if is_multimodal(hf):
        return OpenedModel(text_part(hf), tokenizer, f"{name}, text only")
    return OpenedModel(hf, tokenizer, name, nnsight_model=None if wrapped is None else source)
