"""Where each architecture keeps its parts: data, no behaviour.

A `Family` names the modules of one kind of transformers model, relative to the model or to one of its blocks.
Everything else in `tracing` (hooks, masks, weights) is derived from it, so supporting an architecture means adding
one entry here; the check at load time (`headcount.tracing.loading.self_check`) then shows whether the entry is right.
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Family:
    """The parts of one architecture, as module paths.

    Paths in the first group start at the causal language model, those in the second at one block. An empty path
    means that the architecture has no such part.
    """

    name: str
    model_types: tuple[str, ...]
    """Values of `config.model_type` that are laid out like this."""

    # from the model
    embed: str
    layers: str
    final_norm: str
    pos_embed: str = ""
    project_in: str = ""
    project_out: str = ""

    # from a block
    norm_1: str = ""
    attention: str = ""
    query: str = ""
    key: str = ""
    value: str = ""
    fused: str = ""
    """One module for query, key and value, in place of three."""
    fused_layout: Literal["thirds", "interleaved"] = "thirds"
    """`thirds`: all queries, all keys, all values; `interleaved`: query, key and value of each head in turn."""
    output: str = ""
    attention_added: str = ""
    """The module whose output is what attention adds to the residual stream (a norm may follow the projection)."""
    mid: str = ""
    """The assignment in the block's `forward` after which the residual stream holds attention's contribution."""
    norm_2: str = ""
    mlp: tuple[str, ...] = ("mlp",)
    """The modules that make up the feed-forward network."""
    mlp_in: str = ""
    mlp_gate: str = ""
    """The gate of a gated network: what goes through the activation function."""
    mlp_out: str = ""
    mlp_added: str = ""
    """The module whose output is what the feed-forward network adds to the residual stream."""
    flat_mlp: bool = False
    """Whether batch and position are one axis inside the feed-forward network."""


OPT = Family(
    name="OPT",
    model_types=("opt",),
    embed="model.decoder.embed_tokens",
    pos_embed="model.decoder.embed_positions",
    project_in="model.decoder.project_in",
    project_out="model.decoder.project_out",
    layers="model.decoder.layers",
    final_norm="model.decoder.final_layer_norm",
    norm_1="self_attn_layer_norm",
    attention="self_attn",
    query="self_attn.q_proj",
    key="self_attn.k_proj",
    value="self_attn.v_proj",
    output="self_attn.out_proj",
    attention_added="self_attn.out_proj",
    mid="hidden_states_4",
    norm_2="final_layer_norm",
    mlp=("fc1", "fc2"),
    mlp_in="fc1",
    mlp_out="fc2",
    mlp_added="fc2",
    flat_mlp=True,
)

GPT2 = Family(
    name="GPT-2",
    model_types=("gpt2",),
    embed="transformer.wte",
    pos_embed="transformer.wpe",
    layers="transformer.h",
    final_norm="transformer.ln_f",
    norm_1="ln_1",
    attention="attn",
    fused="attn.c_attn",
    output="attn.c_proj",
    attention_added="attn.c_proj",
    mid="hidden_states_1",
    norm_2="ln_2",
    mlp_in="mlp.c_fc",
    mlp_out="mlp.c_proj",
    mlp_added="mlp",
)

GPT_NEOX = Family(
    name="GPT-NeoX",
    model_types=("gpt_neox",),
    embed="gpt_neox.embed_in",
    layers="gpt_neox.layers",
    final_norm="gpt_neox.final_layer_norm",
    norm_1="input_layernorm",
    attention="attention",
    fused="attention.query_key_value",
    fused_layout="interleaved",
    output="attention.dense",
    attention_added="attention.dense",
    mid="attn_output_1",
    norm_2="post_attention_layernorm",
    mlp_in="mlp.dense_h_to_4h",
    mlp_out="mlp.dense_4h_to_h",
    mlp_added="mlp",
)

LLAMA = Family(
    name="Llama",
    model_types=("llama", "mistral", "qwen2", "qwen3", "gemma"),
    embed="model.embed_tokens",
    layers="model.layers",
    final_norm="model.norm",
    norm_1="input_layernorm",
    attention="self_attn",
    query="self_attn.q_proj",
    key="self_attn.k_proj",
    value="self_attn.v_proj",
    output="self_attn.o_proj",
    attention_added="self_attn.o_proj",
    mid="hidden_states_1",
    norm_2="post_attention_layernorm",
    mlp_in="mlp.up_proj",
    mlp_gate="mlp.gate_proj",
    mlp_out="mlp.down_proj",
    mlp_added="mlp",
)

GEMMA = Family(
    name="Gemma 3",
    model_types=("gemma2", "gemma3_text"),
    embed="model.embed_tokens",
    layers="model.layers",
    final_norm="model.norm",
    norm_1="input_layernorm",
    attention="self_attn",
    query="self_attn.q_proj",
    key="self_attn.k_proj",
    value="self_attn.v_proj",
    output="self_attn.o_proj",
    attention_added="post_attention_layernorm",
    mid="hidden_states_2",
    norm_2="pre_feedforward_layernorm",
    mlp_in="mlp.up_proj",
    mlp_gate="mlp.gate_proj",
    mlp_out="mlp.down_proj",
    mlp_added="post_feedforward_layernorm",
)

FAMILIES = (OPT, GPT2, GPT_NEOX, LLAMA, GEMMA)
