"""Head importance by full autograd, one example at a time, and log-likelihoods one request at a time."""

import torch
from reference import parts
from torch import Tensor
from transformers import PreTrainedModel


def log_likelihood(model: PreTrainedModel, ids: list[int], start: int) -> float:
    """Return Σ log p of the tokens from `start` on, each given all before it."""
    with torch.no_grad():
        log_p = model(input_ids=torch.tensor([ids[:-1]])).logits[0].double().log_softmax(-1)
    return sum(log_p[position - 1, ids[position]].item() for position in range(start, len(ids)))


def head_sums(model: PreTrainedModel, ids: list[int], start: int) -> tuple[Tensor, Tensor]:
    """Return Σ_pos |Σ_d z·∂L/∂z| and Σ_pos Σ_d z·∂L/∂z of every head, [layer, head] each, for one example."""
    z_by_layer: list[Tensor] = []

    def record(module, arguments):
        arguments[0].retain_grad()
        z_by_layer.append(arguments[0])

    for parameter in model.parameters():
        parameter.requires_grad_(True)
    hooks = [
        parts.output_projection(model, layer).register_forward_pre_hook(record) for layer in parts.attentions(model)
    ]
    logits = model(input_ids=torch.tensor([ids[:-1]])).logits[0]
    losses = [-logits[position - 1].log_softmax(-1)[ids[position]] for position in range(start, len(ids))]
    (sum(losses) / len(losses)).backward()
    for hook in hooks:
        hook.remove()
    n_heads = model.config.num_attention_heads
    absolute, signed = [], []
    for z in z_by_layer:
        products = parts.split_heads((z * z.grad)[0].detach(), n_heads).sum(-1)  # [head, pos]
        absolute.append([sum(abs(value) for value in row) for row in products.tolist()])
        signed.append([sum(row) for row in products.tolist()])
    return torch.tensor(absolute), torch.tensor(signed)
