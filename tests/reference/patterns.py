"""Attention patterns by the plainest means: of the model as it runs, and of each layer alone on the embeddings."""

from typing import NamedTuple

import torch
from reference import parts
from torch import Tensor, nn
from transformers import PreTrainedModel


class LayerAlone(NamedTuple):
    """One layer's attention on the embeddings, as if the layer were the first of the model."""

    pattern: Tensor  # [head, query, key]
    z: Tensor  # [head, pos, d_head], the input of the output projection
    values: Tensor  # [head, pos, d_head], W_V x + b_V


@torch.no_grad()
def attention_patterns(model: PreTrainedModel, tokens: Tensor) -> Tensor:
    """Return [layer, head, query, key] for one sequence of token ids."""
    output = parts.eager_copy(model)(tokens[None], output_attentions=True, use_cache=False)
    return torch.stack([pattern[0] for pattern in output.attentions])


@torch.no_grad()
def layers_alone(model: PreTrainedModel, tokens: Tensor) -> list[LayerAlone]:
    """Return every layer's attention on the embeddings of one sequence, which pass through no earlier layer."""
    model = parts.eager_copy(model)
    h0 = embedded(model, tokens)
    return [layer_alone(model, layer, h0) for layer in range(len(parts.layers(model)))]


def layer_alone(model: PreTrainedModel, layer: int, h0: Tensor) -> LayerAlone:
    block = parts.layers(model)[layer]
    attention = getattr(block, parts.names(model).attention)
    x = parts.norm_before_attention(model, block)(h0)
    seen = []
    hook = parts.output_projection(model, attention).register_forward_pre_hook(lambda _, args: seen.append(args[0][0]))
    positions = rotary_positions(model, layer, x)
    if model.config.model_type == "ministral3":  # its queries grow with the position
        positions["position_ids"] = torch.arange(len(x))[None]
    _, pattern = attention(x[None], attention_mask=causal_mask(len(x), window(model, layer)), **positions)
    hook.remove()
    z = parts.split_heads(seen[0], model.config.num_attention_heads)
    return LayerAlone(pattern[0], z, parts.head_values(model, attention, x))


def embedded(model: PreTrainedModel, tokens: Tensor) -> Tensor:
    """Return the input of layer 0: [pos, d_model]."""
    seen = []

    def record(_: nn.Module, args: tuple[Tensor, ...]) -> None:
        seen.append(args[0][0])

    hook = parts.layers(model)[0].register_forward_pre_hook(record)
    model(tokens[None], use_cache=False)
    hook.remove()
    return seen[0]


def causal_mask(pos: int, window: int | None) -> Tensor:
    """Return [1, 1, query, key]: 0 for the keys a query may attend to, −inf in its future and before its window."""
    mask = torch.full((1, 1, pos, pos), -torch.inf, dtype=torch.float64)
    for query in range(pos):
        for key in range(query + 1):
            if window is None or query - key < window:
                mask[0, 0, query, key] = 0.0
    return mask


def window(model: PreTrainedModel, layer: int) -> int | None:
    """Return the number of keys that a query of this layer sees, itself included; None for all."""
    kinds = getattr(model.config, "layer_types", None)
    if kinds is not None and kinds[layer] != "sliding_attention":
        return None
    return getattr(model.config, "sliding_window", None)


def rotary_positions(model: PreTrainedModel, layer: int, x: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """Return cosines and sines for a model with rotary positions; Gemma 3 has one set for each kind of layer."""
    rotary = getattr(parts.decoder(model), "rotary_emb", None)
    if rotary is None:
        return {}
    kind = [model.config.layer_types[layer]] if model.config.model_type == "gemma3_text" else []
    return {"position_embeddings": rotary(x[None], torch.arange(len(x))[None], *kind)}
