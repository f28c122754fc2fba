"""Weights of a model's parts, in the shapes that formulas use, for every class of module that holds them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jaxtyping import Float, Int
from torch import Tensor, nn

from headcount.remote_code import runs_remotely
from headcount.results import InputError
from headcount.tracing.architectures.views import fused_views
from headcount.tracing.hooks.modules import matrix, output_bias

if TYPE_CHECKING:
    from headcount.tracing.hooks.protocol import TracedModel


@runs_remotely
def output_heads(
    model: TracedModel, layer: int
) -> tuple[Float[Tensor, "head d_head d_model"], Float[Tensor, " d_model"]]:
    """Return W_O of each head and b_O, in float32."""
    projection = _whole_block(model, layer).get_submodule(model.paths(layer).output)
    weight = matrix(projection).float().unflatten(0, (model.sizes.n_heads, -1))
    bias = output_bias(projection)
    return weight, bias.float() if isinstance(bias, Tensor) else weight.new_zeros(weight.shape[-1])


@runs_remotely
def value_heads(model: TracedModel, layer: int) -> Float[Tensor, "head d_model d_head"]:
    """Return W_V of each query head, in float32; query heads of one group have the same."""
    block, sizes, family = _whole_block(model, layer), model.sizes, model.paths(layer)
    if family.latent:
        raise InputError(
            f"{model.name} has latent attention (MLA): a norm lies between the residual stream and the values, and no "
            "matrix W_V is; choose another definition than 'eigenvalue'"
        )
    if not (family.fused or family.value):
        raise InputError(
            f"what the projections of {model.name} return is not split into the values that attention averages (by a "
            "norm or a clip, say), and no matrix W_V is; choose another definition than 'eigenvalue'"
        )
    if family.fused:
        _, _, values = fused_views(family, sizes.n_heads, sizes.n_kv_heads, sizes.d_head)
        weight = values.read(matrix(block.get_submodule(family.fused)), 1)
    else:
        weight = matrix(block.get_submodule(family.value)).unflatten(-1, (sizes.n_kv_heads, -1))
    return weight.float().transpose(0, 1).repeat_interleave(sizes.n_heads // sizes.n_kv_heads, dim=0)


@runs_remotely
def unembedding(
    model: TracedModel, tokens: Int[Tensor, "batch pos"]
) -> tuple[Float[Tensor, "batch pos d_model"], Float[Tensor, "batch pos"]]:
    """Return W_U[t] and b_U[t] of tokens, in float32: logit[t] = x · W_U[t] + b_U[t] for x in the residual stream."""
    head = model.hf.get_output_embeddings()
    rows = head.weight[tokens.to(head.weight.device)].float()
    if model.family.project_out:
        rows = rows @ _linear(model, model.family.project_out).float()
    bias = getattr(head, "bias", None)
    return rows, rows.new_zeros(rows.shape[:2]) if bias is None else bias[tokens.to(bias.device)].float()


@runs_remotely
def unembed_embed(model: TracedModel) -> Float[Tensor, "d_model d_model"]:
    """Return the sum over the vocabulary of W_U[:, t] W_E[t, :], in float64, without positions, scales and norms."""
    embed = model.hf.get_input_embeddings().weight.double()
    product = model.hf.get_output_embeddings().weight.double().T @ embed
    if model.family.project_out:
        product = _linear(model, model.family.project_out).double().T @ product
    if model.family.project_in:
        product = product @ _linear(model, model.family.project_in).double().T
    return product


@runs_remotely
def _whole_block(model: TracedModel, layer: int) -> nn.Module:
    """Return a block that has all of its heads.

    Raises:
        InputError: Some were pruned: the weights do not tell the numbers of the heads that are left.
    """
    if model.pruned is not None and model.pruned.heads[layer].any():
        raise InputError(f"{model.name}: heads of layer {layer} were pruned: read the weights of the whole model")
    return model.block(layer)


@runs_remotely
def _linear(model: TracedModel, path: str) -> Float[Tensor, "d_out d_in"]:
    """Return the matrix of a linear module as torch stores it."""
    weight: Tensor = model.hf.get_submodule(path).weight
    return weight
