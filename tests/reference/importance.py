"""Head importance by full autograd, one example at a time, and log-likelihoods one request at a time."""

import torch
from reference import ablation, parts
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
        parameter.requires_grad_(parameter.is_floating_point())  # quantised weights have no gradient
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


def path_sums(model: PreTrainedModel, ids: list[int], start: int, steps: int, replacement: Tensor | None = None):
    """Return Σ_pos |Σ_d (z - r)·ḡ| and Σ_pos Σ_d (z - r)·ḡ of every head, with ḡ the mean gradient of the mean loss.

    One layer and one point r + α(z - r), α = i/steps, at a time: the layer's input to W_O is put there by hand.

    Args:
        replacement: r of every layer [layer, pos, head·d_head]; zeros if left out.
    """
    projections = [parts.output_projection(model, attention) for attention in parts.attentions(model)]
    absolute, signed = [], []
    for layer, projection in enumerate(projections):
        gradients = []
        for step in range(1, steps + 1):
            point: list[Tensor] = []

            def put(module, arguments, layer=layer, alpha=step / steps, point=point):
                z = arguments[0].detach()
                r = torch.zeros_like(z) if replacement is None else replacement[layer][None].to(z)
                point[:] = [z, r, (r + alpha * (z - r)).requires_grad_()]
                return (point[2],)

            hook = projection.register_forward_pre_hook(put)
            logits = model(input_ids=torch.tensor([ids[:-1]])).logits[0]
            hook.remove()
            losses = [-logits[position - 1].log_softmax(-1)[ids[position]] for position in range(start, len(ids))]
            gradients.append(torch.autograd.grad(sum(losses) / len(losses), point[2])[0])
        products = ((point[0] - point[1]) * sum(gradients) / steps)[0]
        sums = parts.split_heads(products, model.config.num_attention_heads).sum(-1)  # [head, pos]
        absolute.append([sum(abs(value) for value in row) for row in sums.tolist()])
        signed.append([sum(row) for row in sums.tolist()])
    return torch.tensor(absolute), torch.tensor(signed)


def ablated_log_likelihood(
    model: PreTrainedModel, ids: list[int], start: int, heads: list[tuple[int, int]], replacement: Tensor | None = None
) -> float:
    """Return the log-likelihood with the z of some heads put to r [layer, pos, head·d_head], or to zero."""
    hooks = []
    for layer, attention in enumerate(parts.attentions(model)):

        def put(module, arguments, layer=layer):
            z = arguments[0].clone()
            width = z.shape[-1] // model.config.num_attention_heads
            for number in [number for place, number in heads if place == layer]:
                columns = slice(number * width, (number + 1) * width)
                z[..., columns] = 0 if replacement is None else replacement[layer][None, :, columns]
            return (z,)

        hooks.append(parts.output_projection(model, attention).register_forward_pre_hook(put))
    value = log_likelihood(model, ids, start)
    for hook in hooks:
        hook.remove()
    return value


def ffn_path_sums(
    model: PreTrainedModel, ids: list[int], start: int, steps: int, replacement: Tensor | None = None
) -> Tensor:
    """Return Σ_pos Σ_d (m - r)·ḡ of every network's output m, [layer], as `path_sums` does of heads.

    Args:
        replacement: r of every layer [layer, pos, d_model]; zeros if left out.
    """
    sums = []
    for layer in range(model.config.num_hidden_layers):
        gradients = []
        for step in range(1, steps + 1):
            point: list[Tensor] = []

            def put(module, arguments, output, layer=layer, alpha=step / steps, point=point):
                m = output.detach()
                r = torch.zeros_like(m) if replacement is None else replacement[layer].view_as(m).to(m)
                point[:] = [m, r, (r + alpha * (m - r)).requires_grad_()]
                return point[2]

            hook = ablation.ffn(model, layer).register_forward_hook(put)
            logits = model(input_ids=torch.tensor([ids[:-1]])).logits[0]
            hook.remove()
            losses = [-logits[position - 1].log_softmax(-1)[ids[position]] for position in range(start, len(ids))]
            gradients.append(torch.autograd.grad(sum(losses) / len(losses), point[2])[0])
        sums.append(((point[0] - point[1]) * sum(gradients) / steps).sum())
    return torch.stack(sums)


def without_ffn(
    model: PreTrainedModel, ids: list[int], start: int, layer: int, replacement: Tensor | None = None
) -> float:
    """Return the log-likelihood with a network's output put to r [layer, pos, d_model], or to zero."""

    def put(module, arguments, output):
        return torch.zeros_like(output) if replacement is None else replacement[layer].view_as(output).to(output)

    hook = ablation.ffn(model, layer).register_forward_hook(put)
    value = log_likelihood(model, ids, start)
    hook.remove()
    return value
