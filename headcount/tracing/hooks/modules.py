"""Weights and formulas of projections and norms, for every class of module that holds them."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from headcount.remote_code import runs_remotely
from headcount.results import InputError


@runs_remotely
def matrix(module: nn.Module) -> Float[Tensor, "d_in d_out"]:
    """Return W of a projection y = x W + b; torch stores it transposed in `Linear`, but not in GPT-2's `Conv1D`.

    Raises:
        InputError: It is neither, or its weights are quantised.
    """
    weight: Tensor = module.weight  # type: ignore[assignment]
    if not weight.is_floating_point() or not (isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D"):
        raise InputError(
            f"weights of a {type(module).__name__} in {weight.dtype} cannot be read as a matrix: expected Linear or "
            "GPT-2's Conv1D with floating-point weights; of a model with adapters, pass model.merge_and_unload()"
        )
    return weight.T if isinstance(module, nn.Linear) else weight


@runs_remotely
def is_quantised(module: nn.Module) -> bool:
    """Return True if a projection's weights are stored as numbers that stand for weights: integers, bytes, packed ones.

    Floating-point formats of one byte and tensors of other classes, which dequantise when they are used, are such too.
    """
    weight = getattr(module, "weight", None)
    if not isinstance(weight, Tensor):
        return isinstance(getattr(module, "qweight", None), Tensor)
    plain = type(weight) in (Tensor, nn.Parameter)
    return not (plain and weight.is_floating_point() and weight.dtype.itemsize > 1)


@runs_remotely
def applied_matrix(module: nn.Module, like: Float[Tensor, "... d_in"]) -> Float[Tensor, "d_in d_out"]:
    """Return the W that a projection multiplies values such as `like` by: of quantised weights the dequantised ones.

    These are what the projection gives of unit vectors, less the bias, whatever library applies them.

    Raises:
        InputError: The weights are neither plain nor quantised.
    """
    if not is_quantised(module):
        return matrix(module)
    units = torch.eye(like.shape[-1], dtype=like.dtype, device=like.device)
    with torch.no_grad():
        given: Tensor = type(module).forward(module, units)  # past hooks on this module, which may run just now
    return given - output_bias(module)


def quantisation(hf: Any) -> str:
    """Return the method by which a model's weights are quantised, such as `bitsandbytes, 8 bit`; empty if none."""
    settings = getattr(hf.config, "quantization_config", None)
    if settings is None or not getattr(hf, "is_quantized", False) or not any(map(is_quantised, hf.modules())):
        return ""  # transformers dequantises some, such as FP8 where there is no GPU
    method = str(getattr(settings.quant_method, "value", settings.quant_method))
    bits = [bits for bits in (4, 8) if getattr(settings, f"load_in_{bits}bit", False)]
    return f"{method}, {bits[0]} bit" if bits else method


@runs_remotely
def output_bias(module: nn.Module) -> Tensor | float:
    """Return the bias of a projection, 0 if it has none."""
    bias = getattr(module, "bias", None)
    return bias if isinstance(bias, Tensor) else 0.0


@runs_remotely
def head_outputs(
    projection: nn.Module, z: Float[Tensor, "batch pos head d_head"]
) -> Float[Tensor, "batch pos head d_model"]:
    """Return what each head adds to the residual stream: z W_O, head by head, without the bias."""
    per_head = applied_matrix(projection, z.flatten(-2)).unflatten(0, (z.shape[-2], -1)).to(z.dtype)
    return torch.einsum("bphd,hdm->bphm", z, per_head)


@runs_remotely
def normalised(norm: nn.Module, x: Tensor) -> Tensor:
    """Return a norm's normalised input, before gain and bias.

    Layer norm: (x - mean) / sqrt(variance + eps); RMS norm: x / sqrt(mean x² + eps), in float32.
    """
    if isinstance(norm, nn.LayerNorm):
        return nn.functional.layer_norm(x, norm.normalized_shape, eps=norm.eps)
    wide = x.float()
    if subtracts_mean(norm):
        wide = wide - wide.mean(-1, keepdim=True)
    return (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + _epsilon(norm))).to(x.dtype)


@runs_remotely
def subtracts_mean(norm: nn.Module) -> bool:
    """Return True for a layer norm, such as torch's or Cohere's; a norm that differs is refused at load."""
    return type(norm).__name__.endswith("LayerNorm")


@runs_remotely
def norm_scale(norm: nn.Module, x: Tensor) -> Tensor:
    """Return the number by which a norm divides, in float32: the root of the mean square, or standard deviation."""
    wide = x.float()
    if subtracts_mean(norm):
        wide = wide - wide.mean(-1, keepdim=True)
    return (wide.pow(2).mean(-1) + _epsilon(norm)).sqrt()


@runs_remotely
def affine(norm: nn.Module, x: Tensor) -> Tensor:
    """Apply a norm's gain and bias to an already normalised value."""
    gain = getattr(norm, "weight", None)
    if gain is None:
        return x
    bias = getattr(norm, "bias", None)
    gain = 1.0 + gain.float() if _adds_one(norm, gain, 0.0 if bias is None else bias) else gain
    scaled = (x * gain).to(x.dtype)
    return scaled if bias is None else scaled + bias


@runs_remotely
def _adds_one(norm: nn.Module, weight: Tensor, bias: Tensor | float) -> bool:
    """Return True if a norm's gain is its weight plus one, as in Gemma: shown by what it gives for 1, -1, 1, ..."""
    signs = torch.ones_like(weight)
    signs[1::2] = -1
    with torch.no_grad():
        scaled = type(norm).forward(norm, signs[None])[0] - bias  # past hooks on this module, which runs just now
        value = normalised(norm, signs[None])[0]
        errors = [(scaled - value * gain).abs().max() for gain in (weight, 1.0 + weight)]
    return bool(errors[1] < errors[0])


@runs_remotely
def _epsilon(norm: nn.Module) -> float:
    epsilon = getattr(norm, "variance_epsilon", None)
    return float(getattr(norm, "eps", 1e-5) if epsilon is None else epsilon)
