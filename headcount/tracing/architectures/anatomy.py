"""Where a model keeps its parts: its family's entry, fitted to the model."""

import copy
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import nn

from headcount.results import InputError
from headcount.tracing.architectures.families import FAMILIES, Family
from headcount.tracing.architectures.sizes import Sizes


@dataclass(frozen=True)
class Variant:
    """How a model differs from others of its family."""

    parallel: bool = False
    """Attention and feed-forward network read the same residual stream: there is no `hook_resid_mid`."""
    post_norm: bool = False
    """Norms follow the sums (opt-350m), so that attention reads the residual stream as it is."""


@dataclass(frozen=True)
class Anatomy:
    """The parts of one model: where they are, how they differ from the family's, how large they are."""

    family: Family
    variant: Variant
    sizes: Sizes

    @classmethod
    def of(cls, hf: Any) -> "Anatomy":
        """The anatomy of a transformers model.

        Raises:
            InputError: Its architecture is not supported, or a part that every model of the family has is missing.
        """
        family = _present(family_of(hf.config), hf)
        variant = Variant(
            parallel=bool(getattr(hf.config, "use_parallel_residual", False)) and family.name == "GPT-NeoX",
            post_norm=getattr(hf.config, "do_layer_norm_before", True) is False,
        )
        return cls(family, variant, Sizes.of(hf.config))

    def ffn(self) -> list[str]:
        """Modules of a block that go with its feed-forward network, in execution order.

        The norm before it goes too, and so does one after it that would only see zeros; a norm after the sum stays.
        """
        before = [] if self.variant.post_norm else [self.family.norm_2]
        after = [] if self.family.mlp_added in self.family.mlp else [self.family.mlp_added]
        return [*before, *self.family.mlp, *after]


def empty_copy(hf: Any) -> Any:
    """A whole model of the same class on meta: no weights, and none of what was done to the modules of this one."""
    with torch.device("meta"):
        return type(hf)(copy.deepcopy(hf.config))


def family_of(config: Any) -> Family:
    """The entry of a configuration's architecture.

    Raises:
        InputError: It has none, or what a token gets depends on what is beside it in a batch.
    """
    kind = getattr(config, "model_type", None)
    rotary = getattr(config, "rope_parameters", None)
    rotary = rotary if isinstance(rotary, dict) else {}
    for one in (rotary, *rotary.values()):  # those of the model, or of each kind of layer
        if isinstance(one, dict) and one.get("rope_type", one.get("type")) == "longrope":
            raise InputError(
                "rope_type 'longrope' is not supported: its angles depend on the longest text of a batch; expected "
                "one that leaves each text alone, such as yarn or llama3"
            )
    for family in FAMILIES:
        if kind in family.model_types:
            return family
    known = ", ".join(kind for family in FAMILIES for kind in family.model_types)
    raise InputError(
        f"architecture {kind!r} is not supported: expected one of {known} (tracing/families.py lists them)"
    )


def _present(family: Family, hf: nn.Module) -> Family:
    """The family's entry without the optional parts that this model does not have.

    Raises:
        InputError: A part that every model of the family has is missing.
    """
    optional = {"final_norm", "project_in", "project_out", "pos_embed", "mlp_gate"}
    modules = {name for name, _ in hf.named_modules()}
    block = f"{family.layers}.0."
    absent = {}
    for field in fields(family):
        path = getattr(family, field.name)
        if field.name in ("name", "model_types", "fused_layout", "mid", "mlp", "flat_mlp") or not path:
            continue
        if path not in modules and block + path not in modules:
            if field.name not in optional:
                raise InputError(
                    f"{type(hf).__name__} has no module {path}, where {family.name} models keep {field.name}"
                )
            absent[field.name] = ""
    return replace(family, **absent)  # type: ignore[arg-type]
