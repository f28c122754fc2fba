"""The parts of one model: the entry of its family, fitted to the model."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from math import isclose
from typing import Any

import torch
from torch import nn

from headcount.results import InputError
from headcount.tracing.architectures.families import FAMILIES, Family
from headcount.tracing.architectures.probe import probe
from headcount.tracing.architectures.sizes import Sizes, context_of

_OPTIONAL = {"final_norm", "project_in", "project_out", "pos_embed", "mlp_gate"}
"""Fields of `Family` whose module a model may lack."""

_NO_SINGLE_PATH = {
    "name",
    "model_types",
    "fused_layout",
    "fused_groups",
    "fused_order",
    "only",
    "attention_factor",
    "mlp_factor",
    "beside_factor",
    "stream_factors",
    "stream_gains",
    "norms_in_stream",
    "order",
    "adds_in_place",
    "scale",
    "gated",
    "mid",
    "mlp",
    "mlp_returns_more",
    "block_elements",
    "embed_scale",
    "query_widths",
    "flat_mlp",
}
"""Fields of `Family` that are not one module's path."""


@dataclass(frozen=True)
class Variant:
    """Differences of a model from its family's common layout."""

    parallel: bool = False
    """True if attention and feed-forward network read the same residual stream: there is no `hook_resid_mid`."""
    post_norm: bool = False
    """True if norms follow the sums (opt-350m): attention reads the residual stream without a norm."""
    residual_factor: float = 1.0
    """The factor of what attention and feed-forward network add to the residual stream (Granite)."""
    groups_alike: bool = True
    """False if layers differ in their number of KV groups: `sizes` has that of the first."""
    latent_widths: tuple[int, int] = (0, 0)
    """In latent attention (MLA), the widths of a head's key, but for its rotated part, and of its value."""


@dataclass(frozen=True)
class Anatomy:
    """The parts of one model.

    Attributes:
        family: The paths of its modules.
        variant: Its differences from the family's common layout.
        sizes: Its sizes.
        blocks: The family with the paths in each block, where blocks differ; none where all are alike.
        derived: True if the parts were found by running the model, not by its type.
        lost: Names of hooks that cannot be offered, and for each the reason.
    """

    family: Family
    variant: Variant
    sizes: Sizes
    blocks: tuple[Family, ...] = ()
    derived: bool = False
    lost: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, hf: Any) -> "Anatomy":
        """Return the anatomy of a transformers model.

        Raises:
            InputError: Its architecture is not supported, or a part that every model of the family has is missing.
        """
        family = _fitted(family_of(hf.config), hf)
        variant = Variant(
            parallel=bool(getattr(hf.config, "use_parallel_residual", False)) and family.name == "GPT-NeoX",
            post_norm=getattr(hf.config, "do_layer_norm_before", True) is False,
        )
        return cls(family, variant, Sizes.of(hf.config))

    def block(self, layer: int) -> Family:
        """Return the family with the paths in a block."""
        return self.blocks[layer] if self.blocks else self.family

    def layers_with_heads(self) -> list[int]:
        """Return the layers that have attention heads."""
        return [layer for layer in range(self.sizes.n_layers) if self.block(layer).attention]

    def layers_with_ffns(self) -> list[int]:
        """Return the layers that have a feed-forward network."""
        return [layer for layer in range(self.sizes.n_layers) if self.block(layer).only != "attention"]

    def layers_with_experts(self) -> list[int]:
        """Return the layers that are mixtures of experts which can be told apart."""
        return [layer for layer in range(self.sizes.n_layers) if self.block(layer).experts]

    def ffn(self, layer: int) -> list[str]:
        """Return the modules of a block that are pruned with its feed-forward network, in execution order.

        They include the norm before it, and a norm after it that would only get zeros; a norm after the sum stays.
        """
        family = self.block(layer)
        before = [family.norm_2] if family.norm_2 and not self.variant.post_norm else []
        after = [] if family.mlp_added in family.mlp else [family.mlp_added]
        return [*before, *family.mlp, *after]


def derived_anatomy(hf: Any) -> Anatomy:
    """Return the anatomy of a model of a type that is not described, found by running it; see `probe`.

    Raises:
        InputError: A part cannot be found, or the blocks differ in what must be the same.
    """
    chosen = getattr(hf.config, "keep_window_size", None)
    if chosen is not None and chosen < context_of(hf.config):
        raise InputError(
            f"each token attends to the {chosen} keys of largest weight (keep_window_size), and keys of equal tokens "
            "have equal ones: which of them it takes is not defined"
        )
    blocks = probe(hf)
    attention = [block.attention for block in blocks if block.attention is not None]
    n_heads, n_kv_heads = attention[0].query.shape[1], attention[0].key.shape[1]
    widths = max(block.latent_widths for block in blocks)
    for layer, block in enumerate(blocks):
        alike = block.parallel == blocks[0].parallel and block.post_norm == blocks[0].post_norm
        if not alike or not isclose(block.factor, blocks[0].factor, rel_tol=1e-2):
            raise InputError(f"block {layer} adds to the residual stream in another way than block 0")
        numbers = block.n_experts, block.experts_per_token
        if numbers not in ((0, 0), max((other.n_experts, other.experts_per_token) for other in blocks)):
            raise InputError(f"block {layer} has another number of experts than other blocks")
        if block.attention is not None and (block.attention.query.shape[1] != n_heads or block.latent_widths != widths):
            raise InputError(f"block {layer} has another number or form of heads than the blocks before it")
    embeddings = hf.get_input_embeddings().weight
    sizes = Sizes(
        n_layers=len(blocks),
        n_heads=n_heads,
        n_kv_heads=n_kv_heads,
        d_model=embeddings.shape[1],
        d_head=attention[0].query.shape[-1],
        d_mlp=next((block.d_mlp for block in blocks if block.d_mlp), 0),
        vocab=embeddings.shape[0],
        context=context_of(hf.config),
        n_experts=max(block.n_experts for block in blocks),
        experts_per_token=max(block.experts_per_token for block in blocks),
    )
    factor = _stated(blocks[0].factor, hf.config, embeddings.dtype)
    alike = all(call.key.shape[1] == n_kv_heads for call in attention)
    variant = Variant(
        blocks[0].parallel, blocks[0].post_norm, residual_factor=factor, groups_alike=alike, latent_widths=widths
    )
    scale = _stated(blocks[0].family.embed_scale, hf.config, embeddings.dtype)
    families = tuple(replace(block.family, embed_scale=scale) for block in blocks)
    return Anatomy(families[0], variant, sizes, families, derived=True)


def _stated(factor: float, config: Any, dtype: torch.dtype) -> float:
    """Return the number in a configuration that a measured factor is, up to rounding, if there is one."""
    rounding = 1e-5 if dtype in (torch.float32, torch.float64) else 5e-3
    stated = [value for value in config.to_dict().values() if isinstance(value, float) and value > 0]
    close = [value for value in stated if isclose(value, factor, rel_tol=rounding)]
    return min(close, key=lambda value: abs(value - factor), default=factor) if factor != 1 else factor


def empty_copy(hf: Any) -> Any:
    """Return a whole model of the same class on meta: without weights, hooks and changes of this one's modules."""
    with torch.device("meta"):
        return type(hf)(copy.deepcopy(hf.config))


def family_of(config: Any) -> Family:
    """Return the family of a configuration's architecture.

    Raises:
        InputError: It has none, or a token's output depends on the other sequences of a batch.
    """
    check_rotary(config)
    if (family := _known_family(config)) is not None:
        return family
    raise unsupported(config, "any whose parts can be found by running it")


def unsupported(config: Any, other: str) -> InputError:
    """Return the refusal of an architecture.

    Args:
        config: The model's configuration.
        other: A clause with what else is expected, or the reason why this is not it.
    """
    types = ", ".join(known for family in FAMILIES for known in family.model_types)
    return InputError(f"architecture {config.model_type!r} is not supported: expected one of {types} or, {other}")


def is_known(config: Any) -> bool:
    """Return True if a configuration's architecture is one of those that are described."""
    return _known_family(config) is not None


def _known_family(config: Any) -> Family | None:
    model_type = getattr(config, "model_type", None)
    return next((family for family in FAMILIES if model_type in family.model_types), None)


def check_rotary(config: Any) -> None:
    """Refuse a configuration by which a token's output depends on the other sequences of a batch.

    Raises:
        InputError: It is one.
    """
    parameters = getattr(config, "rope_parameters", None)
    parameters = parameters if isinstance(parameters, dict) else {}
    for rotary in (parameters, *parameters.values()):  # those of the model, or of each kind of layer
        if isinstance(rotary, dict) and rotary.get("rope_type", rotary.get("type")) == "longrope":
            raise InputError(
                "rope_type 'longrope' is not supported: its angles depend on the longest text of a batch; expected "
                "one that treats each text alone, such as yarn or llama3"
            )


def _fitted(family: Family, hf: nn.Module) -> Family:
    """Return the family's entry without the optional parts that this model lacks.

    Raises:
        InputError: A part that every model of the family has is missing.
    """
    modules = {name for name, _ in hf.named_modules()}
    block = f"{family.layers}.0."
    absent: dict[str, Any] = {}
    for part in fields(family):
        path = getattr(family, part.name)
        if part.name in _NO_SINGLE_PATH or not path or path in modules or block + path in modules:
            continue
        if part.name not in _OPTIONAL:
            raise InputError(f"{type(hf).__name__} has no module {path}, expected {family.name}'s {part.name} there")
        absent[part.name] = ""
    return replace(family, **absent)
