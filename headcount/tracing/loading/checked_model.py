"""A `Model` around a transformers model, with its hook map checked."""

from dataclasses import replace
from typing import Any, NamedTuple

from headcount.results import InputError
from headcount.tracing.architectures.anatomy import (
    Anatomy,
    derived_anatomy,
    empty_copy,
    is_known,
    unsupported,
)
from headcount.tracing.architectures.stand_in import at_widths_of, on_meta, runs_on_meta, stand_in
from headcount.tracing.loading import hook_check
from headcount.tracing.loading.derived_check import check_blocks_alone, unusual_norms
from headcount.tracing.loading.stored_weights import keep_unpacked
from headcount.tracing.model import Model
from headcount.tracing.removed_parts import pruned_parts
from headcount.tracing.wrapping import take_limits


class OpenedModel(NamedTuple):
    """A transformers model that has been opened, and what belongs to it.

    Attributes:
        hf: The transformers model.
        tokenizer: Its tokenizer, or None.
        name: The model's name in results.
        revision: The Hub's commit.
        nnsight_model: The nnsight model of it, if there is one.
        whole: A pruned model's whole one, on meta, whose parts and limits it has; None if its type is described.
    """

    hf: Any
    tokenizer: Any
    name: str
    revision: str | None = None
    nnsight_model: Any = None
    whole: Model | None = None


def checked_model(opened: OpenedModel, *, in_blocks: bool = False) -> Model:
    """Return a `Model` around an opened model, after a check of its hook map.

    The parts of a model of a type that is not described are found by running it; where its weights are not here, by
    running a stand-in, which is checked in its place.

    Args:
        opened: The model.
        in_blocks: True if its blocks will be run one by one, which is then checked too.

    Raises:
        InputError: The architecture is not supported, or a hook does not show the value that its name promises.
    """
    keep_unpacked(opened.hf)
    if opened.whole is not None:
        model = _checked(opened, opened.whole.anatomy)
        take_limits(model, opened.whole)
        return model
    if is_known(opened.hf.config) or pruned_parts(opened.hf) is not None:
        return _checked(opened)
    try:
        if any(parameter.is_meta for parameter in opened.hf.parameters()):
            return _checked_by_stand_in(opened, in_blocks)
        return _checked(opened, _found(opened.hf))
    except (InputError, RuntimeError, ValueError, TypeError, AttributeError, IndexError, KeyError) as error:
        reason = " ".join(str(error).split())[:300]
        raise unsupported(opened.hf.config, f"one whose parts can be found by running it; here: {reason}") from error


def check_without_weights(model: Model) -> None:
    """Check that a model of this type and flags opens where its weights are not, and that its blocks run alone.

    Raises:
        InputError: It does not.
    """
    if model.derived:
        checked_model(OpenedModel(empty_copy(model.hf), None, model.name), in_blocks=True)


def _found(hf: Any) -> Anatomy:
    """Return the anatomy of a model, found by running it."""
    anatomy = derived_anatomy(hf)
    return replace(anatomy, lost=unusual_norms(hf, anatomy))


def _checked_by_stand_in(opened: OpenedModel, in_blocks: bool) -> Model:
    """Return a model whose weights are not here, with the parts and limits of its stand-in."""
    narrow = stand_in(opened.hf)
    found = _found(narrow)
    like = _checked(OpenedModel(narrow, None, opened.name), found)
    if in_blocks:
        check_blocks_alone(like)
    anatomy = at_widths_of(opened.hf, narrow, found)
    with on_meta(opened.hf.config):
        model = _checked(opened, anatomy) if runs_on_meta(opened.hf) else _model(opened, anatomy)
    take_limits(model, like)
    return model


def _checked(opened: OpenedModel, anatomy: Anatomy | None = None) -> Model:
    model = _model(opened, anatomy)
    hook_check.check_operations(model)
    hook_check.check_hooks(model)
    return model


def _model(opened: OpenedModel, anatomy: Anatomy | None) -> Model:
    return Model(
        opened.hf,
        opened.tokenizer,
        name=opened.name,
        revision=opened.revision,
        nnsight_model=opened.nnsight_model,
        anatomy=anatomy,
    )
