"""The parts of transformers' architectures that the reference implementations need."""

from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import NamedTuple

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from headcount.tracing.architectures.families import Family


class Names(NamedTuple):
    decoder: str
    layers: str
    norm: str
    attention: str
    output: str


NAMES = {
    "opt": Names("model.decoder", "layers", "self_attn_layer_norm", "self_attn", "out_proj"),
    "gpt2": Names("transformer", "h", "ln_1", "attn", "c_proj"),
    "gpt_neox": Names("gpt_neox", "layers", "input_layernorm", "attention", "dense"),
}
LLAMA_STYLE = Names("model", "layers", "input_layernorm", "self_attn", "o_proj")


def names(model: PreTrainedModel) -> Names:
    return NAMES.get(model.config.model_type, LLAMA_STYLE)


def decoder(model: PreTrainedModel) -> nn.Module:
    return model.get_submodule(names(model).decoder)


def layers(model: PreTrainedModel) -> nn.ModuleList:
    return getattr(decoder(model), names(model).layers)


def attentions(model: PreTrainedModel) -> Iterator[nn.Module]:
    return (getattr(layer, names(model).attention) for layer in layers(model))


def output_projection(model: PreTrainedModel, attention: nn.Module) -> nn.Module:
    return getattr(attention, names(model).output)


def norm_before_attention(model: PreTrainedModel, layer: nn.Module) -> Callable[[Tensor], Tensor]:
    """Return the norm that attention's input went through; in a post-norm model it went through none."""
    if not getattr(model.config, "do_layer_norm_before", True):
        return nn.Identity()
    return getattr(layer, names(model).norm)


def head_values(model: PreTrainedModel, attention: nn.Module, x: Tensor) -> Tensor:
    """Return the values that each query head averages, W_V x + b_V: [head, pos, d_head] for x [pos, d_model]."""
    n_heads = model.config.num_attention_heads
    if model.config.model_type == "gpt2":
        return split_heads(attention.c_attn(x).chunk(3, dim=-1)[2], n_heads)
    if model.config.model_type == "gpt_neox":  # each head keeps its query, key and value side by side
        of_heads = split_heads(attention.query_key_value(x), n_heads)
        return of_heads.chunk(3, dim=-1)[2]
    n_kv_heads = getattr(model.config, "num_key_value_heads", n_heads)
    of_kv_heads = split_heads(attention.v_proj(x), n_kv_heads)
    group = n_heads // n_kv_heads
    return torch.stack([of_kv_heads[head // group] for head in range(n_heads)])


def head_output(model: PreTrainedModel, attention: nn.Module, head: int, z: Tensor) -> Tensor:
    """Return the output of one head alone, W_O[head] z + b_O: [pos, d_model] for z [pos, d_head]."""
    pos, d_head = z.shape
    every_head = torch.zeros(pos, model.config.num_attention_heads * d_head, dtype=z.dtype)
    every_head[:, head * d_head : (head + 1) * d_head] = z
    return output_projection(model, attention)(every_head)


def unembed(model: PreTrainedModel, hidden: Tensor) -> Tensor:
    """Turn [pos, d_model] into logits [pos, vocab], with project_out, without final norm and logit cap."""
    project_out = getattr(decoder(model), "project_out", None)
    return model.get_output_embeddings()(hidden if project_out is None else project_out(hidden))


def token_embeddings(model: PreTrainedModel) -> Tensor:
    """Return [vocab, d_model], with embedding scale and project_in, without positions."""
    embedding = model.get_input_embeddings()
    embedded = embedding(torch.arange(embedding.num_embeddings))
    project_in = getattr(decoder(model), "project_in", None)
    return embedded if project_in is None else project_in(embedded)


def split_heads(x: Tensor, n_heads: int) -> Tensor:
    """Turn [pos, head·d_head] into [head, pos, d_head]."""
    return torch.stack(x.chunk(n_heads, dim=-1))


def eager_copy(model: PreTrainedModel) -> PreTrainedModel:
    """Copy a model, in float64 and with the attention implementation that forms every pattern."""
    copy = deepcopy(model).eval()
    copy = copy if model.config.model_type == "xglm" else copy.double()  # XGLM's lowest score has no float64
    copy.set_attn_implementation("eager")
    copy.config._attn_implementation = "eager"  # Falcon looks there, and ignores the call
    return copy


def times(block: nn.Module, family: Family, step: int, stream: Tensor) -> Tensor:
    """The residual stream as attention's output (0), or the network's (1), is added to it."""
    if family.norms_in_stream:
        stream = block.get_submodule((family.norm_1, family.norm_2)[step])(stream)
    gain = family.stream_gains[step]
    return stream * (block.get_parameter(gain) if gain else family.stream_factors[step])
