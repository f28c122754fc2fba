"""Weights of a model's parts, in the shapes that formulas use, for every class of module that holds them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from headcount.remote_code import runs_remotely
from headcount.results import InputError
from headcount.tracing.architectures.views import fused_views
from headcount.tracing.hooks.modules import (
    affine,
    applied_matrix,
    is_quantised,
    matrix,
    norm_scale,
    normalised,
    output_bias,
    subtracts_mean,
)

if TYPE_CHECKING:
    from headcount.tracing.hooks.protocol import TracedModel


@runs_remotely
def output_heads(
    model: TracedModel, layer: int
) -> tuple[Float[Tensor, "head d_head d_model"], Float[Tensor, " d_model"]]:
    """Return W_O of each head and b_O, in float32; of quantised weights the dequantised ones."""
    projection = _whole_block(model, layer).get_submodule(model.paths(layer).output)
    norm = next(weight for weight in model.block(layer).parameters() if weight.is_floating_point())
    like = norm.new_zeros(0, getattr(projection, "in_features", 0))
    weight = applied_matrix(projection, like).float().unflatten(0, (model.sizes.n_heads, -1))
    bias = output_bias(projection)
    return weight, bias.float() if isinstance(bias, Tensor) else weight.new_zeros(weight.shape[-1])


@runs_remotely
def value_heads(model: TracedModel, layer: int) -> Float[Tensor, "head d_model d_head"]:
    """Return W_V of each query head, in float32; query heads of one group have the same.

    Raises:
        InputError: No matrix gives the values that attention averages.
    """
    values = projected_heads(model, layer, "v")
    return values.repeat_interleave(model.sizes.n_heads // len(values), dim=0)


@runs_remotely
def projected_heads(model: TracedModel, layer: int, part: str) -> Float[Tensor, "head d_model d_head"]:
    """Return W_Q of each head (`q`), or W_K or W_V of each KV group (`k`, `v`), in float32.

    Raises:
        InputError: No matrix gives the queries, keys or values that attention takes.
    """
    block, sizes, family = _whole_block(model, layer), model.sizes, model.paths(layer)
    matrix_name, meaning = {"q": ("W_Q", "queries"), "k": ("W_K", "keys"), "v": ("W_V", "values")}[part]
    path = {"q": family.query, "k": family.key, "v": family.value}[part]
    if family.latent:
        raise InputError(
            f"{model.name} has latent attention (MLA): a norm lies between the residual stream and the {meaning}, and "
            f"no matrix {matrix_name} is"
        )
    if not (family.fused or path) or (part == "q" and family.query_widths):
        raise InputError(
            f"what the projections of {model.name} return is not split into the {meaning} that attention takes (by a "
            f"norm or a clip, say), and no matrix {matrix_name} is"
        )
    if is_quantised(block.get_submodule(family.fused or path)):
        raise InputError(
            f"the weights of {model.name} are quantised, and no matrix {matrix_name} is stored: take what needs none, "
            "or pass model.hf.dequantize() to load_model"
        )
    if family.fused:
        views = fused_views(family, sizes.n_heads, sizes.n_kv_heads, sizes.d_head)
        weight = views["qkv".index(part)].read(matrix(block.get_submodule(family.fused)), 1)
    else:
        weight = matrix(block.get_submodule(path)).unflatten(-1, (-1, sizes.d_head))
    return weight.float().transpose(0, 1)


def check_stream_of_sums(model: TracedModel) -> None:
    """Refuse a model in which what a head adds does not stay in the residual stream as it is.

    Raises:
        InputError: Norms, or factors channel by channel, are in the residual stream itself.
    """
    families = [model.paths(layer) for layer in range(model.sizes.n_layers)]
    in_stream = any(family.norms_in_stream or any(family.stream_gains) for family in families)
    if model.anatomy.variant.post_norm or in_stream:
        raise InputError(
            f"{model.name} has norms or factors in the residual stream itself, so that what a head adds does not reach "
            "later layers unchanged, and no matrix stands for the way to them"
        )


def check_added_to_stream(model: TracedModel) -> None:
    """Refuse a model in which what the heads add to the logits directly is not a product of matrices.

    Raises:
        InputError: As `check_stream_of_sums`; or a gate multiplies the heads' outputs, or the stream has factors.
    """
    check_stream_of_sums(model)
    families = [model.paths(layer) for layer in range(model.sizes.n_layers)]
    if any(family.gated for family in families):
        raise InputError(f"a gate that depends on the text multiplies what the heads of {model.name} give")
    if any(family.stream_factors != (1.0, 1.0) for family in families):
        raise InputError(f"{model.name} multiplies the residual stream by factors between layers")


class HeadMatrices(NamedTuple):
    """The matrices of a layer's heads, between the residual stream as it is and what is added to it, in float32.

    Gains of norms are part of them, and so are the means that layer norms subtract. The other half of a norm, the
    division by a number that depends on the text, is not.

    Attributes:
        query: W_Q of each head.
        key: W_K of each KV group.
        value: W_V of each KV group.
        output: W_O of each head.
        centred: True if the mean over d_model was subtracted from all, as the layer norms do.
    """

    query: Float[Tensor, "head d_model d_head"]
    key: Float[Tensor, "group d_model d_head"]
    value: Float[Tensor, "group d_model d_head"]
    output: Float[Tensor, "head d_head d_model"]
    centred: bool


def head_matrices(model: TracedModel, layer: int) -> HeadMatrices:
    """Return the matrices of a layer's heads with the norms folded into them.

    Raises:
        InputError: No matrices give what the heads read and write.
    """
    block, family = _whole_block(model, layer), model.paths(layer)
    if family.gated:
        raise InputError(f"a gate that depends on the text multiplies what the heads of {model.name} give")
    read = {part: projected_heads(model, layer, part) for part in "qkv"}
    inner = _norms_of_projections(model, layer)
    read = {part: weight if part not in inner else _normed_heads(inner[part], weight) for part, weight in read.items()}
    output, _ = output_heads(model, layer)
    centred = False
    if family.norm_1:
        norm = block.get_submodule(family.norm_1)
        centred = subtracts_mean(norm)
        read = {part: _gain(norm, weight)[:, None] * weight for part, weight in read.items()}
    if family.attention_added not in ("", family.output):
        output = output * _gain(block.get_submodule(family.attention_added), output)
    if centred:
        read = {part: weight - weight.mean(1, keepdim=True) for part, weight in read.items()}
        output = output - output.mean(-1, keepdim=True)
    return HeadMatrices(read["q"], read["k"], read["v"], output, centred)


def _norms_of_projections(model: TracedModel, layer: int) -> dict[str, nn.Module]:
    """Return the norms between the projections and the products of attention: `q`, `k` and `v`.

    Raises:
        InputError: There is a norm of which it is not known what it reads.
    """
    block, family = model.block(layer), model.paths(layer)
    outside = {family.norm_1, family.norm_2, family.attention_added}
    norms: dict[str, nn.Module] = {}
    for name, module in block.get_submodule(family.attention).named_modules(prefix=family.attention):
        if "Norm" not in type(module).__name__ or name in outside:
            continue
        part = name.rpartition(".")[2][0]
        if part not in "qkv" or part in norms:
            raise InputError(f"{model.name} has a norm {name} inside attention, which no matrix of a head stands for")
        norms[part] = module
    return norms


def _normed_heads(
    norm: nn.Module, weight: Float[Tensor, "head d_model d_head"]
) -> Float[Tensor, "head d_model d_head"]:
    """Return a projection with the mean that the norm behind it subtracts, and its gain: of each head, or of all."""
    gain = _gain(norm, weight)
    if len(gain) == weight.shape[-1]:
        centred = weight - weight.mean(-1, keepdim=True) if subtracts_mean(norm) else weight
        return centred * gain
    flat = weight.transpose(0, 1).flatten(1)
    flat = (flat - flat.mean(-1, keepdim=True) if subtracts_mean(norm) else flat) * gain
    return flat.unflatten(1, (len(weight), -1)).transpose(0, 1)


@runs_remotely
def _gain(norm: nn.Module, like: Tensor) -> Float[Tensor, " d"]:
    """Return a norm's gain in float32, on another tensor's device."""
    weight = getattr(norm, "weight", None)
    if weight is None:
        return torch.ones(1, device=like.device)
    ones = torch.ones_like(weight, dtype=torch.float32)
    with torch.no_grad():
        return (affine(norm, ones) - affine(norm, torch.zeros_like(ones))).float().to(like.device)


@runs_remotely
def unembedding(
    model: TracedModel, tokens: Int[Tensor, "batch pos"]
) -> tuple[Float[Tensor, "batch pos d_model"], Float[Tensor, "batch pos"]]:
    """Return W_U[t] and b_U[t] of tokens, in float32: logit[t] = x · W_U[t] + b_U[t] for x in the residual stream."""
    head = model.hf.get_output_embeddings()
    if is_quantised(head):
        raise InputError(
            f"the unembedding of {model.name} is quantised, and has no row for each token: leave lm_head out of the "
            "quantisation (modules_to_not_convert), or pass model.hf.dequantize() to load_model"
        )
    rows = head.weight[tokens.to(head.weight.device)].float()
    if model.family.project_out:
        rows = rows @ _linear(model, model.family.project_out).float()
    bias = getattr(head, "bias", None)
    return rows, rows.new_zeros(rows.shape[:2]) if bias is None else bias[tokens.to(bias.device)].float()


@runs_remotely
def final_logits(model: TracedModel, resid: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch vocab"]:
    """Return the logits that the final norm and the unembedding make of the residual stream, in float32, uncapped."""
    if model.family.final_norm:
        norm = model.hf.get_submodule(model.family.final_norm)
        resid = affine(norm, normalised(norm, resid))
    head = model.hf.get_output_embeddings()
    if model.family.project_out:
        resid = resid @ _linear(model, model.family.project_out).T
    logits: Tensor = nn.functional.linear(resid.to(head.weight.device), head.weight, getattr(head, "bias", None))
    return logits.float()


@runs_remotely
def final_scale(model: TracedModel, resid: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch"]:
    """Return the number by which the final norm divides; ones where there is none."""
    if not model.family.final_norm:
        return torch.ones(resid.shape[:-1], device=resid.device)
    return norm_scale(model.hf.get_submodule(model.family.final_norm), resid)


@runs_remotely
def centred_unembedding(model: TracedModel, tokens: Int[Tensor, "batch pos"]) -> Float[Tensor, "batch pos d_model"]:
    """Return the directions of tokens' logits above the mean logit, the final norm's gain and mean folded in.

    x · row / `final_scale` is the part of the logit that x in the residual stream adds, less its mean over all tokens.
    """
    head = model.hf.get_output_embeddings()
    rows = head.weight[tokens.to(head.weight.device)].float() - head.weight.float().mean(0)
    if model.family.project_out:
        rows = rows @ _linear(model, model.family.project_out).float()
    if not model.family.final_norm:
        return rows
    norm = model.hf.get_submodule(model.family.final_norm)
    rows = rows * _gain(norm, rows)
    return rows - rows.mean(-1, keepdim=True) if subtracts_mean(norm) else rows


@runs_remotely
def added_heads(model: TracedModel, layer: int) -> tuple[Float[Tensor, "head d_head d_model"], nn.Module | None]:
    """Return W_O of each head as it is added to the residual stream, and a norm that divides it before.

    The gain of such a norm, and the mean that it subtracts, are in the matrices; the factors of blocks are not.
    """
    block, family = _whole_block(model, layer), model.paths(layer)
    w_o, _ = output_heads(model, layer)
    if family.attention_added in ("", family.output):
        return w_o, None
    norm = block.get_submodule(family.attention_added)
    centred = w_o - w_o.mean(-1, keepdim=True) if subtracts_mean(norm) else w_o
    return centred * _gain(norm, w_o), norm


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
