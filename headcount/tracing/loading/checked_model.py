"""A `Model` around a transformers model, with its hook map checked."""

from typing import Any, NamedTuple

from headcount.tracing.loading import hook_check
from headcount.tracing.model import Model


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

    Raises:
        InputError: The architecture is not supported, or a hook does not show the value that its name promises.
    """
    model = Model(
        opened.hf,
        opened.tokenizer,
        name=opened.name,
        revision=opened.revision,
        nnsight_model=opened.nnsight_model,
    )
    hook_check.check_operations(model)
    hook_check.check_hooks(model)
    return model
