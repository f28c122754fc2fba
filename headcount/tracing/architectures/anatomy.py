"""The parts of one model: the entry of its family, fitted to the model."""

import copy
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import nn

from headcount.results import InputError
from headcount.tracing.architectures.families import BY_MODULES, FAMILIES, Family
from headcount.tracing.architectures.sizes import Sizes

_OPTIONAL = {"final_norm", "project_in", "project_out", "pos_embed", "mlp_gate"}
"""Fields of `Family` whose module a model may lack."""

_NO_SINGLE_PATH = {"name", "model_types", "fused_layout", "mid", "mlp", "flat_mlp"}
"""Fields of `Family` that are not one module's path."""

MOST_LABELS = 7
"""Assignments in a block's `forward` that may add attention's output to the residual stream."""


@dataclass(frozen=True)
class Variant:
    """Differences of a model from its family's common layout."""

    parallel: bool = False
    """True if attention and feed-forward network read the same residual stream: there is no `hook_resid_mid`."""
    post_norm: bool = False
    """True if norms follow the sums (opt-350m): attention reads the residual stream without a norm."""


@dataclass(frozen=True)
class Anatomy:
    """The parts of one model.

    Attributes:
        family: The paths of its modules.
        variant: Its differences from the family's common layout.
        sizes: Its sizes.
        derived: True if the family was found by the names of the model's modules, not by its type.
    """

    family: Family
    variant: Variant
    sizes: Sizes
    derived: bool = False

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

    def ffn(self) -> list[str]:
        """Return the modules of a block that are pruned with its feed-forward network, in execution order.

        They include the norm before it, and a norm after it that would only get zeros; a norm after the sum stays.
        """
        before = [] if self.variant.post_norm else [self.family.norm_2]
        after = [] if self.family.mlp_added in self.family.mlp else [self.family.mlp_added]
        return [*before, *self.family.mlp, *after]


def candidate_anatomies(hf: Any) -> list[Anatomy]:
    """Return the anatomies that a model of an unknown type may have: those whose modules it has, all by name.

    Which of them is right, if any, shows the check of the hook map.
    """
    found = []
    for family in BY_MODULES:
        try:
            fitted, sizes = _fitted(family, hf), Sizes.of(hf.config)
        except (InputError, AttributeError, TypeError):
            continue
        variant = Variant(parallel=bool(fitted.norm_1) and not fitted.norm_2)
        if variant.parallel and _norms(hf, fitted) != {fitted.norm_1}:
            continue
        labels = (
            [fitted.mid] if variant.parallel else [fitted.mid, *(f"hidden_states_{n}" for n in range(1, MOST_LABELS))]
        )
        found += [Anatomy(replace(fitted, mid=label), variant, sizes, derived=True) for label in dict.fromkeys(labels)]
    return found


def _norms(hf: nn.Module, family: Family) -> set[str]:
    """Return the norms of the first block, by their usual names."""
    return {
        name for name, _ in hf.get_submodule(f"{family.layers}.0").named_children() if "norm" in name or "ln_" in name
    }


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
    raise unsupported(config, "with its weights in memory, one whose modules are named and work like theirs")


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
    for field in fields(family):
        path = getattr(family, field.name)
        if field.name in _NO_SINGLE_PATH or not path or path in modules or block + path in modules:
            continue
        if field.name not in _OPTIONAL:
            raise InputError(f"{type(hf).__name__} has no module {path}, expected {family.name}'s {field.name} there")
        absent[field.name] = ""
    return replace(family, **absent)
