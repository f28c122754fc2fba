"""Composition by the plainest means: every circuit [d_model, d_model] is formed, pair by pair, in float64."""

import torch
from reference import parts
from torch import Tensor, nn
from transformers import PreTrainedModel


def composition(model: PreTrainedModel, kind: str) -> Tensor:
    """Return the scores [layer, head, later layer, later head]; NaN where the second layer is not later."""
    circuits = [of_layer(parts.eager_copy(model), layer) for layer in range(len(parts.layers(model)))]
    n_layers, n_heads = len(circuits), model.config.num_attention_heads
    scores = torch.full((n_layers, n_heads, n_layers, n_heads), torch.nan, dtype=torch.float64)
    for later in range(n_layers):
        for layer in range(later):
            for head in range(n_heads):
                for later_head in range(n_heads):
                    _, _, w_v, w_o = circuits[layer][head]
                    query, key, value, output = circuits[later][later_head]
                    read = {"K": key @ query.T, "Q": query @ key.T, "V": value @ output}[kind]
                    norms = torch.linalg.norm(w_v @ w_o) * torch.linalg.norm(read)
                    scores[layer, head, later, later_head] = torch.linalg.norm(w_v @ w_o @ read) / norms
    return scores


def of_layer(model: PreTrainedModel, layer: int) -> list[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Return for each head what its projections make of each direction of the residual stream: W_Q, W_K, W_V, W_O."""
    block = parts.layers(model)[layer]
    attention = getattr(block, parts.names(model).attention)
    n_heads, kind = model.config.num_attention_heads, model.config.model_type
    norm = parts.norm_before_attention(model, block)
    centre = "rms_norm_eps" not in model.config.to_dict()
    directions = torch.eye(model.config.hidden_size, dtype=torch.float64)
    if centre:
        directions = directions - directions.mean(-1, keepdim=True)
    read = directions * gain(norm, kind)
    heads = []
    for head in range(n_heads):
        query, key, value = (projected(model, attention, read, part, head) for part in range(3))
        z = torch.eye(query.shape[-1], dtype=torch.float64)
        nothing = torch.zeros_like(z)
        output = parts.head_output(model, attention, head, z) - parts.head_output(model, attention, head, nothing)
        if kind == "gemma3_text":
            output = output * gain(block.post_attention_layernorm, kind)
        heads.append((query, key, value, output - output.mean(-1, keepdim=True) if centre else output))
    return heads


def projected(model: PreTrainedModel, attention: nn.Module, x: Tensor, part: int, head: int) -> Tensor:
    """Return the query (key, value) of a head without biases, times the gain of the norm behind the projection."""
    kind, n_heads = model.config.model_type, model.config.num_attention_heads
    if kind == "gpt2":
        whole = x @ attention.c_attn.weight.chunk(3, dim=-1)[part]
        return whole.chunk(n_heads, dim=-1)[head]
    if kind == "gpt_neox":
        of_heads = attention.query_key_value.weight.chunk(n_heads, dim=0)
        return x @ of_heads[head].chunk(3, dim=0)[part].T
    module = (attention.q_proj, attention.k_proj, attention.v_proj)[part]
    count = n_heads if part == 0 else getattr(model.config, "num_key_value_heads", n_heads)
    result = (x @ module.weight.T).chunk(count, dim=-1)[head * count // n_heads]
    if kind == "gemma3_text" and part < 2:
        result = result * gain((attention.q_norm, attention.k_norm)[part], kind)
    return result


def gain(norm: nn.Module, kind: str) -> Tensor:
    return norm.weight + 1 if kind.startswith("gemma") else norm.weight
