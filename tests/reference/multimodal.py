"""Tiny multimodal models, with random weights: a text decoder, and an encoder of images or sounds beside it."""

from dataclasses import fields, is_dataclass
from typing import Any

import torch
import transformers
from reference import zoo
from transformers import CONFIG_MAPPING, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES

_ENCODER = {
    "depth": 2,
    "hidden_size": 32,
    "embed_dim": 32,
    "d_model": 32,
    "num_heads": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "attention_heads": 2,
    "encoder_attention_heads": 2,
    "num_hidden_layers": 2,
    "encoder_layers": 2,
    "num_global_layers": 1,
    "intermediate_size": 48,
    "encoder_ffn_dim": 48,
    "head_dim": 16,
    "image_size": 28,
    "patch_size": 14,
    "window_size": 28,
    "out_hidden_size": 64,
    "output_proj_dims": 64,
    "vision_output_dim": 64,
    "projector_input_dim": 64,
    "projector_output_dim": 64,
    "num_position_embeddings": 16,
    "position_embedding_size": 16,
    "num_mel_bins": 16,
    "vocab_size": 300,
    "deepstack_visual_indexes": [0],
    "fullatt_block_indexes": [1],
}
_ROTARY = {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 3, 3]}}

TYPES: dict[str, tuple[str, str]] = {
    "aria": ("", "idefics3_vision"),
    "aya_vision": ("cohere2", "siglip_vision_model"),
    "blip-2": ("opt", ""),
    "deepseek_vl": ("llama", "siglip_vision_model"),
    "exaone4_5": ("exaone4", ""),
    "fuyu": ("persimmon", ""),
    "gemma3": ("", "siglip_vision_model"),
    "gemma4": ("", ""),
    "glm4v": ("", ""),
    "idefics2": ("mistral", ""),
    "idefics3": ("llama", ""),
    "internvl": ("qwen2", ""),
    "kimi_k25": ("deepseek_v3", ""),
    "lfm2_vl": ("lfm2", "siglip2_vision_model"),
    "llama4": ("", ""),
    "llava": ("llama", "clip_vision_model"),
    "llava_next": ("llama", "clip_vision_model"),
    "llava_onevision": ("qwen2", "siglip_vision_model"),
    "mistral3": ("mistral", "pixtral"),
    "qwen2_5_vl": ("", ""),
    "qwen2_audio": ("qwen2", "qwen2_audio_encoder"),
    "qwen2_vl": ("", ""),
    "qwen3_5": ("", ""),
    "qwen3_vl": ("", ""),
    "qwen3_vl_moe": ("", ""),
    "smolvlm": ("llama", ""),
    "voxtral": ("llama", "voxtral_encoder"),
}
"""The types whose text decoder opens; with the types of decoder and encoder where a type takes several."""

PROMPTS_IN_BOTH_DIRECTIONS = {"paligemma": ("gemma", "siglip_vision_model")}


def tiny(model_type: str) -> PreTrainedModel:
    """Return a tiny model of this type, whose weights, gains and biases all differ."""
    kind = CONFIG_MAPPING[model_type]
    text, encoder = (TYPES | PROMPTS_IN_BOTH_DIRECTIONS)[model_type]
    parts: dict[str, Any] = {}
    for name, part in kind.sub_configs.items():
        if "text" in name:
            decoder = text or part.model_type
            parts[name] = zoo.config(decoder, **_ROTARY if decoder in _WITH_SECTIONS else {})
        elif is_dataclass(part) and part.__name__ != "AutoConfig":
            parts[name] = _small(part)
        elif encoder:
            parts[name] = _small(CONFIG_MAPPING[encoder])
    config = kind(**parts)
    torch.manual_seed(0)
    hf = getattr(transformers, MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES[model_type])(config)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in hf.named_parameters():
            noise = torch.randn(weight.shape, generator=generator)
            if weight.dim() > 1:
                weight.copy_(noise if "embed" in name else noise / weight.shape[-1] ** 0.5)
            else:
                weight.add_(0.1 * noise)
    return hf.eval().requires_grad_(False)


_WITH_SECTIONS = ("qwen2_vl_text", "qwen2_5_vl_text", "glm4v_text")


def _small(kind: type) -> Any:
    known = {field.name for field in fields(kind)}
    return kind(**{name: size for name, size in _ENCODER.items() if name in known})
