"""Copying at the published computation's cost, for OPT: the yardstick of a benchmark, not an oracle of correctness.

Head by head: every position's own output, unembedded to the whole vocabulary, its softmax, then a loop over positions
(Bansal et al. 2023).
"""

import torch
from torch import Tensor
from transformers import OPTForCausalLM


@torch.no_grad()
def published_copying(model: OPTForCausalLM, tokens: Tensor) -> Tensor:
    """Return the published copying score [layer, head] of one sequence of token ids, BOS first."""
    h0 = embeddings(model, tokens)
    return torch.stack([layer_scores(model, layer, h0, tokens) for layer in model.model.decoder.layers])


def embeddings(model: OPTForCausalLM, tokens: Tensor) -> Tensor:
    decoder = model.model.decoder
    embedded = decoder.embed_tokens(tokens)
    if decoder.project_in is not None:
        embedded = decoder.project_in(embedded)
    positions = decoder.embed_positions.weight[decoder.embed_positions.offset :]
    return embedded + positions[: len(tokens)]


def layer_scores(model: OPTForCausalLM, layer: torch.nn.Module, h0: Tensor, tokens: Tensor) -> Tensor:
    attention = layer.self_attn
    x = layer.self_attn_layer_norm(h0) if layer.do_layer_norm_before else h0
    patterns = attention_patterns(attention, x)
    values = by_head(attention.v_proj(x), attention.num_heads)
    scores = []
    for head in range(attention.num_heads):
        columns = slice(head * attention.head_dim, (head + 1) * attention.head_dim)
        output = values[head] @ attention.out_proj.weight[:, columns].T + attention.out_proj.bias
        scores.append(head_score(patterns[head], vocabulary_probabilities(model, output), tokens))
    return torch.stack(scores)


def attention_patterns(attention: torch.nn.Module, x: Tensor) -> Tensor:
    query = by_head(attention.q_proj(x), attention.num_heads)
    key = by_head(attention.k_proj(x), attention.num_heads)
    future = torch.ones(len(x), len(x), dtype=torch.bool).triu(1)
    scores = query @ key.mT * attention.scaling
    return scores.masked_fill(future, -torch.inf).softmax(-1)


def vocabulary_probabilities(model: OPTForCausalLM, output: Tensor) -> Tensor:
    project_out = model.model.decoder.project_out
    return model.lm_head(output if project_out is None else project_out(output)).softmax(-1)


def head_score(pattern: Tensor, probabilities: Tensor, tokens: Tensor) -> Tensor:
    scores = []
    for j in range(1, len(tokens)):
        attended = pattern[j, : j + 1].argmax()
        attendable = probabilities[j, tokens[: j + 1]]
        raised = torch.relu(attendable - attendable.mean())
        total = raised.sum()
        scores.append(raised[attended] / total if total > 0 else total)
    return torch.stack(scores).mean()


def by_head(x: Tensor, n_heads: int) -> Tensor:
    return x.view(len(x), n_heads, -1).transpose(0, 1)
