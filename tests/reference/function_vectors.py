"""The function-vector effect of every head by the plainest means: one run for each head, or autograd."""

import torch
from reference import parts
from reference.importance import log_likelihood
from torch import Tensor
from transformers import PreTrainedModel


def patched(model: PreTrainedModel, means: Tensor, ids: list[int], start: int) -> Tensor:
    """Return p(continuation) with each head's z at the context's last token replaced, less p without: [layer, head]."""
    model = parts.eager_copy(model)
    whole = torch.tensor(log_likelihood(model, ids, start)).exp()
    effects = torch.zeros(means.shape[:2])
    for layer, attention in enumerate(parts.attentions(model)):
        for head, mean in enumerate(means[layer]):

            def replace(_, args, head=head, mean=mean):
                z = args[0].clone()
                z[0, start - 1, head * len(mean) : (head + 1) * len(mean)] = mean
                return (z,)

            hook = parts.output_projection(model, attention).register_forward_pre_hook(replace)
            effects[layer, head] = torch.tensor(log_likelihood(model, ids, start)).exp() - whole
            hook.remove()
    return effects


def estimated(model: PreTrainedModel, means: Tensor, ids: list[int], start: int) -> Tensor:
    """Return (mean - z) · ∂p(continuation) / ∂z at the context's last token: [layer, head]."""
    model = parts.eager_copy(model)
    z_by_layer = []

    def record(module, args):
        args[0].retain_grad()
        z_by_layer.append(args[0])

    for attention in parts.attentions(model):
        parts.output_projection(model, attention).register_forward_pre_hook(record)
    log_p = model(input_ids=torch.tensor([ids[:-1]])).logits[0].log_softmax(-1)
    sum(log_p[place - 1, ids[place]] for place in range(start, len(ids))).exp().backward()
    effects = torch.zeros(means.shape[:2])
    for layer, z in enumerate(z_by_layer):
        values, gradients = (
            parts.split_heads(part[0, start - 1 : start].detach(), means.shape[1])[:, 0] for part in (z, z.grad)
        )
        for head in range(means.shape[1]):
            effects[layer, head] = ((means[layer, head] - values[head]) * gradients[head]).sum()
    return effects
