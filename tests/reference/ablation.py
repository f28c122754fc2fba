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
