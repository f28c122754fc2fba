"""Gates on heads learned by torch's own Adam on parameters, one example at a time."""

import torch
from reference import parts
from torch import Tensor
from transformers import PreTrainedModel


def fit(
    model: PreTrainedModel,
    batches: list[list[tuple[list[int], int]]],
    start: Tensor,
    means: Tensor | None,
    penalty: float,
    rate: float,
) -> Tensor:
    """Return the logits [layer, head] after one step on each batch of (token ids, start of the continuation)."""
    model = parts.eager_copy(model)
    logits = torch.nn.Parameter(start.double().clone())
    optimiser = torch.optim.Adam([logits], lr=rate)
    for layer, attention in enumerate(parts.attentions(model)):

        def scale(_, args, layer=layer):
            gates = logits[layer].sigmoid()
            heads = args[0].unflatten(-1, (len(gates), -1))
            closed = torch.zeros_like(heads) if means is None else means[layer].double().expand_as(heads)
            return ((closed + gates[:, None] * (heads - closed)).flatten(-2),)

        parts.output_projection(model, attention).register_forward_pre_hook(scale)
    for batch in batches:
        optimiser.zero_grad()
        loss = penalty * logits.sigmoid().sum()
        for ids, first in batch:
            log_p = model(input_ids=torch.tensor([ids[:-1]])).logits[0].log_softmax(-1)
            losses = [-log_p[place - 1, ids[place]] for place in range(first, len(ids))]
            loss = loss + sum(losses) / len(losses) / len(batch)
        loss.backward()
        optimiser.step()
    return logits.detach().float()
