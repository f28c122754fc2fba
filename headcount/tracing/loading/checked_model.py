"""A `Model` around a transformers model, with its hook map checked."""

from dataclasses import replace
from typing import Any, NamedTuple

from headcount.results import InputError
from headcount.tracing.architectures.anatomy import Anatomy, derived_anatomy, family_of, is_known, unsupported
from headcount.tracing.loading import hook_check
from headcount.tracing.loading.derived_check import unusual_norms
from headcount.tracing.model import Model
from headcount.tracing.removed_parts import pruned_parts


class OpenedModel(NamedTuple):
    """A transformers model that has been opened, and what belongs to it.

    Attributes:
        hf: The transformers model.
        tokenizer: Its tokenizer, or None.
        name: The model's name in results.
        revision: The Hub's commit.
        nnsight_model: The nnsight model of it, if there is one.
    """

    hf: Any
    tokenizer: Any
    name: str
    revision: str | None = None
    nnsight_model: Any = None


def checked_model(opened: OpenedModel) -> Model:
    """Return a `Model` around an opened model, after a check of its hook map.

    The parts of a model of a type that is not described are found by running it.

    Raises:
        InputError: The architecture is not supported, or a hook does not show the value that its name promises.
    """
    if is_known(opened.hf.config) or pruned_parts(opened.hf) is not None:
        return _checked(opened)
    if any(parameter.is_meta for parameter in opened.hf.parameters()):
        family_of(opened.hf.config)  # raises: nothing can be run without weights
    try:
        anatomy = derived_anatomy(opened.hf)
        return _checked(opened, replace(anatomy, lost=unusual_norms(opened.hf, anatomy)))
    except (InputError, RuntimeError, ValueError, AttributeError, IndexError, KeyError) as error:
        reason = " ".join(str(error).split())[:300]
        raise unsupported(opened.hf.config, f"one whose parts can be found by running it; here: {reason}") from error


def _checked(opened: OpenedModel, anatomy: Anatomy | None = None) -> Model:
    model = Model(
        opened.hf,
        opened.tokenizer,
        name=opened.name,
        revision=opened.revision,
        nnsight_model=opened.nnsight_model,
        anatomy=anatomy,
    )
    hook_check.check_operations(model)
    hook_check.check_hooks(model)
    return model
