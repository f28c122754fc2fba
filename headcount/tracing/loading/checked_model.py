"""A `Model` around a transformers model, with its hook map checked."""

from typing import Any, NamedTuple

from headcount.tracing.architectures.anatomy import Anatomy, candidate_anatomies, family_of, is_known, unsupported
from headcount.tracing.loading import hook_check
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

    A model of a type that is not described is tried as each family whose modules it has, until one passes.

    Raises:
        InputError: The architecture is not supported, or a hook does not show the value that its name promises.
    """
    if is_known(opened.hf.config) or pruned_parts(opened.hf) is not None:
        return _checked(opened)
    if any(parameter.is_meta for parameter in opened.hf.parameters()):
        family_of(opened.hf.config)  # raises: nothing can be tried without weights
    reasons = []
    for anatomy in candidate_anatomies(opened.hf):
        try:
            return _checked(opened, anatomy)
        except Exception as error:  # whatever it is, this family is not the model's
            reasons.append(" ".join(str(error).split())[:300])
    if not reasons:
        family_of(opened.hf.config)  # raises
    raise unsupported(opened.hf.config, f"one that works like one of them, which this does not: {reasons[0]}")


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
