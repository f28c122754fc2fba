"""Architectures as data: one `Family` for each kind of transformers model, with the paths of its modules.

Hooks, ablation and access to weights follow from these entries; parallel blocks and post-norm are recognised in
`Anatomy.of` (`anatomy.py`). To support an architecture, add an
entry here; the check at load time (`headcount.tracing.loading.hook_check`) shows if the entry is right.
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Family:
    """Module paths of one architecture.

    Paths of the first group start at the causal language model, those of the second at a block. An empty path means
    that the architecture has no such part.
    """

    name: str
    model_types: tuple[str, ...]
    """Values of `config.model_type` that have these paths."""

    # from the model
    embed: str
    layers: str
    final_norm: str
    embed_scale: float = 1.0
    """The factor of the token embedding that is not in its module (Granite)."""
    pos_embed: str = ""
    project_in: str = ""
    project_out: str = ""

    # from a block
    norm_1: str = ""
    attention: str = ""
    query: str = ""
    query_widths: tuple[int, ...] = ()
    """The widths of a head's query and of the gate behind it, where one projection gives both."""
    key: str = ""
    value: str = ""
    fused: str = ""
    """The one module for queries, keys and values, in place of three."""
    fused_layout: Literal["in turn", "interleaved"] = "in turn"
    """`in turn`: all queries, all keys, all values; `interleaved`: those of each group of heads in turn."""
    fused_groups: int = 0
    """The number of groups of an interleaved layout; 0: as many as KV groups."""
    fused_order: str = "qkv"
    """The order of queries, keys and values."""
    latent: str = ""
    """In latent attention (MLA), the module that gives each head's key without its rotated part, and then its value."""
    scale: float = 0.0
    """The factor of the products of queries and keys, if the model computes attention itself; 0 where it calls
    transformers' attention function."""
    gated: bool = False
    """True if the heads' outputs are multiplied by a gate before the output projection."""
    output: str = ""
    attention_added: str = ""
    """The module whose output attention adds to the residual stream: the output projection, or a norm after it."""
    mid: str = ""
    """The assignment in the block's `forward` that adds attention's output to the residual stream. Empty: what the
    block reads and what attention adds are added here."""
    norm_2: str = ""
    mlp: tuple[str, ...] = ("mlp",)
    """The modules of the feed-forward network."""
    mlp_in: str = ""
    mlp_gate: str = ""
    """The gate projection of a gated network: its output goes through the activation function. If it is `mlp_in` too,
    the gate is the first half of what that gives."""
    mlp_out: str = ""
    mlp_added: str = ""
    """The module whose output the feed-forward network adds to the residual stream."""
    experts: str = ""
    """The experts of a mixture: the module that takes tokens, the experts chosen for each, and their weights."""
    mlp_returns_more: bool = False
    """True if the feed-forward network's module returns a tuple, of which the first element is added."""
    block_elements: int = 0
    """The number of elements of the tuple that a block returns, of which only the first counts; 0 if it is no tuple."""
    only: Literal["", "attention", "mlp"] = ""
    """The part that a block has, if it is attention, or what takes its place, or a feed-forward network alone."""
    attention_factor: float = 1.0
    """The factor of what attention adds to the residual stream, beside that of `Variant`."""
    mlp_factor: float = 1.0
    """The same of the feed-forward network."""
    beside: str = ""
    """A module that runs before attention, on the same input, and whose output is added with attention's."""
    beside_factor: float = 1.0
    """The factor of that output."""
    stream_factors: tuple[float, float] = (1.0, 1.0)
    """The factors of the residual stream before attention's output, and before the network's, are added to it."""
    stream_gains: tuple[str, str] = ("", "")
    """Parameters of the block that have the place of these factors, channel by channel."""
    norms_in_stream: bool = False
    """True if the residual stream goes through each norm before something is added to it (MiniMax)."""
    order: tuple[str, ...] = ()
    """The modules above in the order in which they end, where it is not the usual one: that of these fields."""
    adds_in_place: bool = False
    """True if the block changes in place what the feed-forward network gives."""
    flat_mlp: bool = False
    """True if batch and position are one axis inside the feed-forward network."""


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
"""The families that are described: `model_types` names the types that have them. Those of other types are probed."""
