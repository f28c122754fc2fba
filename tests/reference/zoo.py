"""Tiny models, with random weights, of every type of decoder in transformers that headcount looks at."""

from dataclasses import fields
from typing import Any

import torch
import transformers
from torch import nn
from transformers import CONFIG_MAPPING, PreTrainedConfig, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

_DECODERS = (
    "afmoe apertus apertus1p5_text arcee aria_text axk1 axk2 bailing_hybrid bamba beam biogpt bitnet bloom "
    "codegen cohere cohere2 cohere2_moe cohere_compass_text ctrl cwm dbrx deepseek_v2 deepseek_v3 deepseek_v32 "
    "deepseek_v4 diffllama doge dory dots1 dots3_note_text ernie4_5 ernie4_5_moe exaone exaone4 exaone_moe falcon "
    "falcon_h1 flex_olmo flint gemma gemma2 gemma3_text gemma3n_text gemma4_text gemma4_unified_text glm glm4 "
    "glm4_moe glm4_moe_lite glm_moe_dsa gpt-sw3 gpt2 gpt_bigcode gpt_neo gpt_neox gpt_neox_japanese gpt_oss gptj "
    "granite granite_swa granitemoe granitemoe_swa granitemoehybrid granitemoeshared helium hrm_text "
    "hunyuan_v1_dense hunyuan_v1_moe hy_v3 hy_v4 hyperclovax inkling2_loop_text inkling2_text inkling_text "
    "internlm3 iquestcoder jais2 jamba jetmoe kimi_linear kolibri1 laguna lara_mini lfm2 lfm2_moe lfm3 llama "
    "llama4_text longcat_flash mellum mimo_v2_flash minicpm3 minimax minimax_m2 minimax_m3_vl_text ministral "
    "ministral3 mistral mixtral modernbert-decoder mpt nanochat nemotron nemotron_h olmo olmo2 olmo3 olmo_hybrid "
    "olmoe openai-gpt opt persimmon phi phi3 phimoe qwen2 qwen2_moe qwen3 qwen3_5_moe_text qwen3_5_text qwen3_moe "
    "qwen3_next qwen4_exp_text recurrent_gemma sarvam_mla sarvam_moe seed_oss smollm3 solar_open stablelm "
    "starcoder2 vaultgemma xglm youtu zamba zamba2 zaya"
)
DECODERS = _DECODERS.split()
"""The types of transformers that predict the next token by softmax attention: no encoders, and none without heads."""

VOCAB = 300
_SIZES = {  # a size, and the settings that have it where a type knows them
    300: "vocab_size unpadded_vocab_size vocab_size_per_layer_input",
    128: "max_position_embeddings n_positions n_ctx max_seq_len original_max_position_embeddings "
    "mamba_d_ssm rel_extent",
    96: "intermediate_size dense_intermediate_size prefix_dense_intermediate_size intermediate_size_mlp "
    "ffn_hidden_size n_inner ffn_dim dim_ff dff",
    64: "hidden_size n_embd d_model lru_width embedding_size",
    32: "moe_intermediate_size shared_intermediate_size shared_expert_intermediate_size expert_ffn_hidden_size "
    "moe_shared_expert_intermediate_size shared_experts_intermediate_size kv_lora_rank",
    24: "q_lora_rank",
    16: "head_dim kv_channels qk_nope_head_dim v_head_dim swa_head_dim global_head_dim index_head_dim dim_head "
    "linear_key_head_dim linear_value_head_dim linear_head_dim mamba_d_head mamba_d_state mamba_head_dim state_size "
    "index_n_heads ssm_state_size router_hidden_size o_lora_rank query_pre_attn_scalar block_multiple_of mamba_headdim",
    8: "sliding_window sliding_window_size attention_window_size window_size attention_chunk_size qk_rope_head_dim "
    "rotary_dim mamba_n_heads mamba_num_heads mamba_chunk_size chunk_size mamba_dt_rank block_size adapter_rank "
    "laurel_rank hidden_size_per_layer_input gated_norm_rank loop_gate_rank",
    6: "index_topk",
    4: "num_attention_heads n_head n_heads attention_heads num_heads swa_num_attention_heads linear_num_heads "
    "linear_num_value_heads linear_conv_kernel_dim num_experts num_local_experts n_routed_experts moe_num_experts "
    "d_rel index_block_size",
    3: "num_hidden_layers n_layer num_layers n_layers layer_group_size conv_kernel_size pad_token_id eod_token_id",
    2: "num_key_value_heads swa_num_key_value_heads linear_num_key_heads n_mamba_heads num_experts_per_tok moe_topk "
    "moe_k top_k_experts sliding_window_pattern eos_token_id index_topk_blocks n_recurrent_loops "
    "altup_num_inputs hc_mult o_groups hc_sinkhorn_iters n_layers_per_attn_res_block zero_expert_num",
    1: "n_shared_experts num_shared_experts moe_num_shared_experts n_group topk_group first_k_dense_replace "
    "num_dense_layers bos_token_id mamba_n_groups n_groups mamba_ngroups decoder_sparse_step index_local_blocks "
    "index_kv_heads n_input_layers n_output_layers",
    0: "num_mtp_layers num_nextn_predict_layers num_kv_shared_layers",
}
_UNSET = {"sliding_window", "num_experts", "top_k_experts", "moe_intermediate_size", "q_lora_rank"} | {
    *("n_group", "topk_group", "unpadded_vocab_size", "v_head_dim")
}
"""Settings that stay unset where a type leaves them so: they would turn something on."""

_FULL, _SLIDING, _LINEAR = "full_attention", "sliding_attention", "linear_attention"
_WINDOWS = {"layer_types": [_SLIDING, _FULL, _SLIDING]}
_LINEARS = {"layer_types": [_LINEAR, _FULL, _LINEAR]}
_LATENT = {"num_key_value_heads": 4}
_SHARED_ROTARY = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 3, 3]}
_HYBRID = {"layers_block_type": ["mamba", "hybrid"] * 2, "num_hidden_layers": 4, "num_key_value_heads": 4}

_WITH_WINDOWS = (
    "afmoe cohere2 cohere2_moe cwm exaone4 exaone_moe flint gemma2 gemma3_text gpt_oss granite_swa granitemoe_swa "
    "kolibri1 laguna mellum mimo_v2_flash ministral modernbert-decoder olmo3 vaultgemma"
)
_WITH_LINEAR = "granitemoehybrid minimax olmo_hybrid qwen3_5_moe_text qwen3_5_text qwen3_next"
_WITH_LATENT = (
    "axk1 axk2 deepseek_v2 deepseek_v3 deepseek_v32 glm4_moe_lite glm_moe_dsa hy_v4 minicpm3 sarvam_mla youtu"
)

SETTINGS: dict[str, dict[str, Any]] = {
    **dict.fromkeys(_WITH_WINDOWS.split(), _WINDOWS),
    **dict.fromkeys(_WITH_LINEAR.split(), _LINEARS),
    **dict.fromkeys(_WITH_LATENT.split(), _LATENT),
    "bailing_hybrid": _LINEARS | _LATENT | {"q_lora_rank": None},
    "bamba": {"attn_layer_indices": [1]},
    "beam": _WINDOWS | {"mlp_layer_types": ["dense", "sparse", "sparse"]},
    "cohere_compass_text": _WINDOWS | {"rope_parameters": {_SLIDING: _SHARED_ROTARY, _FULL: _SHARED_ROTARY}},
    "dbrx": {
        "attn_config": {"kv_n_heads": 2, "clip_qkv": 8.0, "rope_theta": 1e4},
        "ffn_config": {"ffn_hidden_size": 32, "moe_num_experts": 4, "moe_top_k": 2, "hidden_size": 64},
    },
    "dots3_note_text": _LATENT | {"per_layer_config": {}, "layer_types": [_FULL] * 3},
    "falcon": {"alibi": False, "new_decoder_architecture": False, "multi_query": True, "num_kv_heads": 1},
    "gemma3n_text": {
        "layer_types": [_SLIDING, _FULL, _FULL],
        "num_kv_shared_layers": 1,
        "activation_sparsity_pattern": [0.0] * 3,
        "intermediate_size": [96] * 3,
    },
    "gemma4_text": {"layer_types": [_SLIDING, _FULL, _FULL], "num_experts": None, "top_k_experts": None},
    "gemma4_unified_text": {"layer_types": [_SLIDING, _FULL, _FULL]},
    "gpt_neo": {"attention_types": [[["global", "local"], 1], [["global"], 1]]},
    "hrm_text": {"num_hidden_layers": 2},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1, "use_mamba_kernels": False, "num_hidden_layers": 4},
    "kimi_linear": _LINEARS | _LATENT | {"q_lora_rank": None},
    "lara_mini": {"layer_types": [_LINEAR, _FULL, _SLIDING]},
    "lfm2": {"layer_types": ["conv", _FULL, "conv"]},
    "lfm2_moe": {"layer_types": ["conv", _FULL, _FULL]},
    "lfm3": {"layer_types": ["conv", _FULL, _SLIDING]},
    "llama4_text": {
        "no_rope_layers": [1, 0, 1],
        "moe_layers": [1],
        "layer_types": ["chunked_attention", _FULL, "chunked_attention"],
    },
    "longcat_flash": _LATENT | {"num_layers": 2, "num_hidden_layers": 4, "head_dim": 8},
    "nemotron_h": {"layers_block_type": ["mamba", "attention", "moe", "mlp"], "use_mamba_kernels": False},
    "qwen4_exp_text": {
        "layer_types": [_LINEAR, "indexed_attention", _LINEAR],
        "hc_lowrank": 16,
        "indexer_n_heads": 2,
        "indexer_kv_heads": 1,
        "indexer_head_dim": 16,
        "indexer_budget": 8,
        "indexer_compress_ratio": 2,
    },
    "recurrent_gemma": {"block_types": ["recurrent", "attention"], "num_hidden_layers": 4},
    "smollm3": {"no_rope_layers": [1, 0, 1]},
    "zamba": _HYBRID | {"use_mamba_kernels": False},
    "zamba2": _HYBRID | {"use_mamba_kernels": False, "n_mamba_heads": 8},
    "zaya": {"num_experts_per_tok": 1},
}
"""What a type needs beside small sizes, so that its layers differ as those of published models do."""


def config(model_type: str, **settings: Any) -> PreTrainedConfig:
    """Return the configuration of a tiny model of this type."""
    kind = CONFIG_MAPPING[model_type]
    defaults = {field.name: field.default for field in fields(kind)}
    small = {
        name: size
        for size, names in _SIZES.items()
        for name in names.split()
        if name in defaults and not (name in _UNSET and defaults[name] is None)
    }
    return kind(**small | SETTINGS.get(model_type, {}) | settings)


def tiny(model_type: str, seed: int = 0, **settings: Any) -> PreTrainedModel:
    """Return a tiny model of this type, whose weights, gains and biases all differ."""
    torch.manual_seed(seed)
    hf = getattr(transformers, MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[model_type])(config(model_type, **settings))
    generator = torch.Generator().manual_seed(seed)
    embeddings = {id(module.weight) for module in hf.modules() if isinstance(module, nn.Embedding)}
    with torch.no_grad():
        for name, weight in hf.named_parameters():
            noise = torch.randn(weight.shape, generator=generator)
            if weight.dim() > 1:
                weight.copy_(noise if id(weight) in embeddings else noise / weight.shape[-1] ** 0.5)
            elif not name.endswith(("A_log", "dt_bias", ".D")):  # of state spaces, which such noise would blow up
                weight.add_(0.1 * noise)
    return hf.eval().requires_grad_(False)
