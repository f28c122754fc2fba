"""Models without weights: opened on meta from their configurations alone."""

import os
from pathlib import Path
from typing import Any, NamedTuple

import torch

from headcount.results import InputError
from headcount.tracing.architectures.anatomy import is_known
from headcount.tracing.architectures.published_sizes import published_configuration, published_sizes
from headcount.tracing.loading.checked_model import OpenedModel, checked_model
from headcount.tracing.loading.stored_weights import check_type
from headcount.tracing.model import Model
from headcount.tracing.sources import default_model
from headcount.tracing.sources.names import resolve
from headcount.tracing.sources.pretrained import as_dtype, build_model, read_configuration, read_tokenizer

_STAND_IN = "HuggingFaceTB/SmolLM2-135M"
"""The entry of the published sizes that stands for the default model while that has not been fetched."""


class Described(NamedTuple):
    """A model on meta, and the assumptions about it.

    Attributes:
        model: The model: every hook and size, no weights.
        assumed: Replacements for parts of it that were out of reach, one phrase each.
    """

    model: Model
    assumed: tuple[str, ...]


def describe_model(source: str | Path | None = None, *, dtype: torch.dtype | str | None = None) -> Described:
    """Open a model on meta; no weights are read or fetched.

    A model whose configuration the Hub does not return is taken from the table of published sizes, if it is there. A
    model without a tokenizer gets the default model's.

    Args:
        source: As in `load_model`; or a configuration, a file like config.json.
        dtype: The number format that the weights are to have; None takes the configuration's.

    Raises:
        InputError: The configuration cannot be read, its architecture is not supported, or no tokenizer is within
            reach.
    """
    config, name, assumed = _configuration(source)
    check_type(config)
    weights_dtype = as_dtype(dtype) or getattr(config, "dtype", None) or torch.float32
    with torch.device("meta"):
        hf = build_model(name, config, dtype=weights_dtype)
    # If the Hub did not return the configuration, it is not asked for the tokenizer.
    tokenizer, replacement = _tokenizer(None if assumed else source, name)
    if is_known(config):
        return Described(Model(hf, tokenizer, name=name), (*assumed, *replacement))
    return Described(checked_model(OpenedModel(hf, tokenizer, name)), (*assumed, *replacement))


def _configuration(source: str | Path | None) -> tuple[Any, str, list[str]]:
    """Return the configuration, the model's name, and the assumptions."""
    path = None if source is None else Path(os.path.expanduser(source))
    if path is not None and os.path.isfile(path):
        return read_configuration(path), path.resolve().parent.name, []
    if source is None or source == default_model.NAME:
        if default_model.available():
            folder, title = default_model.fetch()
            return read_configuration(folder), title, []
        assumed = f"the configuration of {_STAND_IN}: the default model is not here"
        return published_configuration(_STAND_IN), _STAND_IN, [assumed]
    location, name, *_ = resolve(source)
    try:
        return read_configuration(location), name, []
    except InputError as error:
        if name not in published_sizes():
            raise InputError(f"{error}; without it these are known: {', '.join(published_sizes())}") from error
        assumed = "the published sizes of the model, and the default model's tokenizer: its own are not here"
        return published_configuration(name), name, [assumed]


def _tokenizer(source: str | Path | None, name: str) -> tuple[Any, list[str]]:
    """Return the model's tokenizer; or the default model's, and the phrase that says so."""
    path = Path(os.path.expanduser(source or default_model.NAME))
    location = str(path.parent) if os.path.isfile(path) else resolve(source).tokenizer
    try:
        return read_tokenizer(location), []
    except Exception as error:  # the reason does not matter: another tokenizer serves to count tokens
        folder, title = default_model.fetch()
        reason = type(error.__cause__ or error).__name__
        return read_tokenizer(folder), [f"the tokenizer of {title}: that of {name} cannot be read ({reason})"]
