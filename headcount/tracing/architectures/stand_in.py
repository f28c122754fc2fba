"""A stand-in for a model whose weights are not here: the same class, depth and flags, narrow, with random weights."""

import copy
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from math import isclose
from typing import Any

import torch
from torch import Tensor, nn

from headcount.results import InputError
from headcount.tracing.architectures.anatomy import Anatomy, derived_anatomy
from headcount.tracing.architectures.sizes import Sizes

_HEAD_WIDTH, _ANOTHER_WIDTH = 16, 32
"""The width of a head in a stand-in: of fewer numbers, those of a part of the head that is rotated might be odd. And of
another stand-in, which shows if a factor depends on widths."""

_RATIO = (
    "hidden_size n_embd d_model embedding_size lru_width hidden_size_per_layer_input head_dim kv_channels "
    "qk_nope_head_dim qk_rope_head_dim qk_head_dim v_head_dim swa_head_dim swa_v_head_dim global_head_dim "
    "linear_key_head_dim linear_value_head_dim linear_head_dim mamba_d_head mamba_d_ssm index_head_dim rotary_dim "
    "q_lora_rank kv_lora_rank dim_model_base"
)
"""Settings that are widths and are all divided by one number: some are products of others."""

_FREE = {
    64: "vocab_size vocab_size_per_layer_input",
    24: "intermediate_size dense_intermediate_size prefix_dense_intermediate_size intermediate_size_mlp ffn_dim dff "
    "n_inner ffn_hidden_size moe_intermediate_size shared_intermediate_size shared_expert_intermediate_size",
    16: "mamba_d_state mamba_dt_rank block_multiple_of",
}
"""Settings that are widths on which no other depends, by the width that they get."""

_IN_RATIO = set(_RATIO.split())
_FREE_WIDTHS = {name: width for width, names in _FREE.items() for name in names.split()}
_TOKEN = re.compile(r"(pad|bos|eos|cls|sep|eod)_token_id$")


def stand_in(hf: Any, head_width: int = _HEAD_WIDTH) -> Any:
    """Return a stand-in for a model: its class and flags, as many layers, heads and experts, small widths.

    Its weights, gains and biases all differ, but for those of equal names in several blocks, which share memory.

    Args:
        hf: The model, on meta.
        head_width: The width of a head.
    """
    import accelerate

    with accelerate.init_empty_weights(include_buffers=False):  # buffers are computed from the configuration
        narrow = type(hf)(_narrow_config(hf.config, head_width))
    narrow.tie_weights()
    embeddings = {id(module.weight) for module in narrow.modules() if isinstance(module, nn.Embedding)}
    generator, drawn = torch.Generator().manual_seed(0), dict[Any, Tensor]()
    for name, weight in list(narrow.named_parameters()):
        key = re.sub(r"\.\d+\.", ".*.", name), weight.shape
        if key not in drawn:
            drawn[key] = _random(name, weight, id(weight) in embeddings, generator)
        path, _, leaf = name.rpartition(".")
        setattr(narrow.get_submodule(path), leaf, nn.Parameter(drawn[key], requires_grad=False))
    narrow.tie_weights()
    return narrow.eval()


def _random(name: str, weight: Tensor, embedding: bool, generator: torch.Generator) -> Tensor:
    """Return random numbers for a weight: outputs of about the size of inputs; gains about one, biases about zero."""
    noise = torch.randn(weight.shape, generator=generator)
    if weight.dim() > 1:
        return noise if embedding else noise / weight.shape[-1] ** 0.5
    if name.endswith("A_log"):  # of a state space: the logarithm of its rates of decay
        return 0.1 * noise
    gain = name.endswith(("norm.weight", "norm1.weight", "norm2.weight"))
    return 0.1 * noise + gain


def _narrow_config(config: Any, head_width: int) -> Any:
    """Return a copy of a configuration with small widths."""
    names = ("qk_nope_head_dim", "head_dim", "kv_channels")
    widths = (vars(config).get(name) for name in names)
    width = next(filter(None, widths), None) or config.hidden_size // config.num_attention_heads
    narrow = copy.deepcopy(config)
    for part in _parts(narrow):
        _make_narrow(part, head_width / width)
    return narrow


def _parts(config: Any) -> Iterator[Any]:
    """Yield a configuration and those inside it."""
    yield config
    for value in vars(config).values():
        if hasattr(value, "model_type"):
            yield from _parts(value)


def _make_narrow(config: Any, ratio: float) -> None:
    for name, value in list(vars(config).items()):
        if name in _IN_RATIO:
            setattr(config, name, _each(value, lambda width: _even(width * ratio)))
        elif name in _FREE_WIDTHS:
            setattr(config, name, _each(value, lambda width, name=name: min(width, _FREE_WIDTHS[name])))
        elif _TOKEN.match(name) and isinstance(value, int):
            setattr(config, name, 0)


def _even(width: float) -> int:
    """Return an even number near a width; kernels want wide rows in pieces of 8."""
    step = 8 if width >= 32 else 2
    return max(2, step * round(width / step))


def _each(value: Any, change: Any) -> Any:
    """Return a width, or each of a list of widths, changed; what is not set stays so."""
    if isinstance(value, list | tuple):
        return type(value)(_each(inner, change) for inner in value)
    return change(value) if isinstance(value, int) and value > 0 else value


@contextmanager
def on_meta(config: Any) -> Iterator[None]:
    """Let a model without weights run: nothing in it asks for the values of tokens, or for the experts chosen."""
    before = getattr(config, "pad_token_id", None), config._experts_implementation
    vars(config)["pad_token_id"] = None  # some configurations allow no such setting otherwise
    config._experts_implementation = "batched_mm"
    try:
        yield
    finally:
        vars(config)["pad_token_id"], config._experts_implementation = before


def runs_on_meta(hf: Any) -> bool:
    """Return True if a model without weights can be run for the shapes of its values."""
    try:
        hf(input_ids=torch.zeros(1, 6, dtype=torch.long, device="meta"), use_cache=True)
    except RuntimeError:  # it asks for a value
        return False
    return True


def at_widths_of(hf: Any, narrow: Any, anatomy: Anatomy) -> Anatomy:
    """Return the anatomy of a model, given that of its stand-in: the same parts, with the model's own widths.

    Args:
        hf: The model, on meta.
        narrow: Its stand-in.
        anatomy: The stand-in's anatomy, as it was found.

    Raises:
        InputError: The two differ in more than widths; or a width does not follow from the shapes of weights.
    """
    shapes = [{name: weight.dim() for name, weight in model.named_parameters()} for model in (hf, narrow)]
    if shapes[0] != shapes[1]:
        other = sorted(
            name for name in shapes[0].keys() | shapes[1].keys() if shapes[0].get(name) != shapes[1].get(name)
        )
        raise InputError(f"with small widths it has other weights, first {other[0]}")
    expected = anatomy.sizes, anatomy.variant.latent_widths
    for key_width in (_projected_width, _stated_width, _value_width):
        if _widths(narrow, anatomy, key_width) == expected:
            sizes, latent = _widths(hf, anatomy, key_width)
            variant, scale = replace(anatomy.variant, latent_widths=latent), _embed_scale(hf, anatomy, sizes.d_model)
            blocks = tuple(
                replace(block, embed_scale=scale, query_widths=_query_widths(hf, anatomy, layer, sizes.d_head))
                for layer, block in enumerate(anatomy.blocks)
            )
            return replace(anatomy, sizes=sizes, variant=variant, family=blocks[0], blocks=blocks)
    raise InputError("the width of a head does not follow from the shapes of the weights")


def _embed_scale(hf: Any, anatomy: Anatomy, d_model: int) -> float:
    """Return the factor of the embedding, which may grow with the root of the width, as two stand-ins show.

    Raises:
        InputError: This factor, or that of what blocks add, depends on the width in another way.
    """
    scale, factor = anatomy.family.embed_scale, anatomy.variant.residual_factor
    if scale == factor == 1:
        return scale
    other = derived_anatomy(stand_in(hf, _ANOTHER_WIDTH))
    if not isclose(factor, other.variant.residual_factor, rel_tol=1e-5):
        raise InputError("the factor of what blocks add to the residual stream depends on its width")
    measured = [(scale, anatomy.sizes.d_model), (other.family.embed_scale, other.sizes.d_model)]
    for rule in (lambda width: scale, lambda width: width**0.5, _rounded_root):
        if all(isclose(number, rule(width), rel_tol=1e-5) for number, width in measured):
            return rule(d_model)
    raise InputError("the factor of the embedding depends on its width, and is not the root of that")


def _rounded_root(width: int) -> float:
    """Return the root of a width in bfloat16, in which some models compute it."""
    return float(torch.tensor(width**0.5).bfloat16())


def _query_widths(hf: Any, anatomy: Anatomy, layer: int, d_head: int) -> tuple[int, ...]:
    """Return the widths of a head's query and of the gate behind it, if one projection gives both."""
    family, sizes = anatomy.block(layer), anatomy.sizes
    if not family.query_widths:
        return ()
    width = _shape(hf, anatomy, layer, family.key)[1] // sizes.n_kv_heads if family.key else d_head
    return width, _shape(hf, anatomy, layer, family.query)[1] // sizes.n_heads - width


def _widths(hf: Any, anatomy: Anatomy, key_width: Callable[[Any, Anatomy, int], int]) -> tuple[Sizes, tuple[int, int]]:
    """Return the sizes, and the widths of latent attention, by the shapes of weights."""
    layer, sizes = anatomy.layers_with_heads()[0], anatomy.sizes
    values, latent = _value_width(hf, anatomy, layer), anatomy.block(layer).latent
    if latent:
        latent_widths = _shape(hf, anatomy, layer, latent)[1] // sizes.n_heads - values, values
    embeddings = hf.get_input_embeddings().weight
    out = [(layer, path) for layer in range(sizes.n_layers) if (path := anatomy.block(layer).mlp_out)]
    found = replace(
        sizes,
        d_model=embeddings.shape[1],
        d_head=key_width(hf, anatomy, layer),
        d_mlp=_shape(hf, anatomy, *out[0])[0] if out else 0,
        vocab=embeddings.shape[0],
    )
    return found, latent_widths if latent else (0, 0)


def _value_width(hf: Any, anatomy: Anatomy, layer: int) -> int:
    """Return the width of a head's value: W_O reads one of each head."""
    return _shape(hf, anatomy, layer, anatomy.block(layer).output)[0] // anatomy.sizes.n_heads


def _projected_width(hf: Any, anatomy: Anatomy, layer: int) -> int:
    """Return the width of a head's key by the projections of queries and keys; 0 if they are not known."""
    family, sizes = anatomy.block(layer), anatomy.sizes
    if family.fused:
        return _shape(hf, anatomy, layer, family.fused)[1] // (sizes.n_heads + 2 * sizes.n_kv_heads)
    if family.key:
        return _shape(hf, anatomy, layer, family.key)[1] // sizes.n_kv_heads
    return _shape(hf, anatomy, layer, family.query)[1] // sizes.n_heads if family.query else 0


def _stated_width(hf: Any, anatomy: Anatomy, layer: int) -> int:
    """Return the width of a head that the configuration states; 0 if it does not."""
    stated = vars(hf.config)
    if "qk_nope_head_dim" in stated:  # latent attention: a part that is not rotated and one that is
        return int(stated["qk_nope_head_dim"] + stated["qk_rope_head_dim"])
    return int(stated.get("head_dim") or 0)


def _shape(hf: Any, anatomy: Anatomy, layer: int, path: str) -> tuple[int, int]:
    """Return the numbers of a projection's inputs and outputs, d_in and d_out."""
    projection: Any = hf.get_submodule(f"{anatomy.family.layers}.{layer}.{path}")
    d_in, d_out = reversed(projection.weight.shape) if isinstance(projection, nn.Linear) else projection.weight.shape
    return d_in, d_out
