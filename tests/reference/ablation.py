"""Means of activations and runs with replaced activations, one sequence and one position at a time."""

import torch
from reference import raw_hooks
from torch import Tensor, nn
from transformers import PreTrainedModel


def output_projection(hf: PreTrainedModel, layer: int) -> nn.Module:
    return raw_hooks.block(hf, layer).get_submodule(raw_hooks.layout(hf).output)


def ffn(hf: PreTrainedModel, layer: int) -> nn.Module:
    return raw_hooks.block(hf, layer).get_submodule(raw_hooks.layout(hf).mlp_out)


@torch.no_grad()
def activations(hf: PreTrainedModel, ids: list[int]) -> tuple[list[Tensor], list[Tensor]]:
    """Return every layer's z, [pos, head·d_head], and the output of its network, [pos, d_model]."""
    z, added, handles = [], [], []
    for layer in range(hf.config.num_hidden_layers):
        project, network = output_projection(hf, layer), ffn(hf, layer)
        handles.append(project.register_forward_pre_hook(lambda _, args: z.append(args[0].view(-1, args[0].shape[-1]))))
        handles.append(network.register_forward_hook(lambda _, __, out: added.append(out.view(-1, out.shape[-1]))))
    hf(input_ids=torch.tensor([ids]), use_cache=False)
    for handle in handles:
        handle.remove()
    return z, added


def means(hf: PreTrainedModel, rows: list[list[int]], positions: list[list[int]]) -> tuple[Tensor, Tensor]:
    """Return the mean of z, [layer, head, d_head], and of networks' outputs, [layer, d_model], over some positions."""
    z_sum = [0.0] * hf.config.num_hidden_layers
    ffn_sum = [0.0] * hf.config.num_hidden_layers
    count = 0
    for ids, chosen in zip(rows, positions, strict=True):
        z, added = activations(hf, ids)
        for position in chosen:
            count += 1
            for layer in range(hf.config.num_hidden_layers):
                z_sum[layer] = z_sum[layer] + z[layer][position].double()
                ffn_sum[layer] = ffn_sum[layer] + added[layer][position].double()
    heads = torch.stack(z_sum).view(len(z_sum), hf.config.num_attention_heads, -1) / count
    return heads.float(), (torch.stack(ffn_sum) / count).float()


Replace = dict[tuple[int, int | None], Tensor]
"""By layer and head, or layer and None for the network: the values at every position, [pos, width] or [width]."""


@torch.no_grad()
def replaced_logits(hf: PreTrainedModel, ids: list[int], values: Replace) -> Tensor:
    """Return the logits, [pos, vocab], of a run in which parts have other values."""
    handles = []
    for layer in range(hf.config.num_hidden_layers):

        def put_z(module, args, layer=layer):
            z = args[0].clone()
            width = z.shape[-1] // hf.config.num_attention_heads
            for (place, head), value in values.items():
                if place == layer and head is not None:
                    z[..., head * width : (head + 1) * width] = value
            return (z,)

        def put_added(module, args, output, layer=layer):
            return values[layer, None].expand_as(output) if (layer, None) in values else None

        handles.append(output_projection(hf, layer).register_forward_pre_hook(put_z))
        handles.append(ffn(hf, layer).register_forward_hook(put_added))
    logits = hf(input_ids=torch.tensor([ids]), use_cache=False).logits[0]
    for handle in handles:
        handle.remove()
    return logits


def values_on(hf: PreTrainedModel, ids: list[int], heads: list[tuple[int, int]], ffns: list[int]) -> Replace:
    """Return the values that some parts have in another run, position by position."""
    z, added = activations(hf, ids)
    width = z[0].shape[-1] // hf.config.num_attention_heads
    values: Replace = {(layer, head): z[layer][:, head * width : (head + 1) * width] for layer, head in heads}
    return values | {(layer, None): added[layer] for layer in ffns}


def mean_values(hf: PreTrainedModel, rows: list[list[int]], heads: list[tuple[int, int]], ffns: list[int]) -> Replace:
    """Return the means of some parts over all positions of some rows."""
    of_heads, of_ffns = means(hf, rows, [list(range(len(row))) for row in rows])
    values: Replace = {(layer, head): of_heads[layer, head] for layer, head in heads}
    return values | {(layer, None): of_ffns[layer] for layer in ffns}


def log_likelihood(logits: Tensor, ids: list[int], start: int) -> float:
    """Return Σ log p of the tokens from `start` on, from the logits of a run over all tokens but the last."""
    log_p = logits.double().log_softmax(-1)
    return sum(log_p[position - 1, ids[position]].item() for position in range(start, len(ids)))
