"""Models without weights: opened on meta from their configurations alone."""

import os
import tomllib
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import torch

from headcount.results import InputError
from headcount.tracing.architectures.anatomy import family_of
from headcount.tracing.loading import default_model, load, pretrained
from headcount.tracing.model import Model


class Described(NamedTuple):
    """A model on meta, and what was not to be had of it.

    Attributes:
        model: The model: every hook and size, no weights.
        assumed: What was taken in place of something that was not to be had, one sentence each.
    """

    model: Model
    assumed: tuple[str, ...]


def describe_model(source: str | Path | None = None, *, dtype: torch.dtype | str | None = None) -> Described:
    """Open a model on meta; no weights are read or fetched.

    A model that the Hub does not answer for is taken from the table of published sizes, if that has it. One without a
    tokenizer of its own gets the default model's.

    Args:
        source: As in `load_model`; or a configuration, a file like config.json.
        dtype: Number format that the weights are to have; None takes the configuration's.

    Raises:
        InputError: The configuration cannot be read, its architecture is not supported, or no tokenizer is to be had.
    """
    config, name, assumed = _configuration(source)
    family_of(config)
    wanted = load.as_dtype(dtype)
    wanted = wanted if isinstance(wanted, torch.dtype) else getattr(config, "dtype", None) or torch.float32
    with torch.device("meta"):
        hf = pretrained.built(name, config, dtype=wanted)
    # A Hub that does not answer for the configuration is not asked again.
    tokenizer, lack = _tokenizer(None, name) if assumed else _tokenizer(source, name)
    return Described(Model(hf, tokenizer, name=name), (*assumed, *lack))


@cache
def true_sizes() -> dict[str, dict[str, Any]]:
    """Configurations of published models by their names on the Hub."""
    return tomllib.loads(
        files("headcount.tracing.architectures").joinpath("published_sizes.toml").read_text(encoding="utf-8")
    )


def published_configuration(name: str) -> Any:
    """The transformers configuration of a model in the table of published sizes."""
    import transformers

    entry = dict(true_sizes()[name])
    return transformers.AutoConfig.for_model(entry.pop("model_type"), **entry)


def _configuration(source: str | Path | None) -> tuple[Any, str, list[str]]:
    """The configuration, what to call the model, and what was assumed."""
    path = None if source is None else Path(os.path.expanduser(source))
    if path is not None and os.path.isfile(path):
        return pretrained.configuration(path), path.resolve().parent.name, []
    if source is None or source == default_model.NAME:
        if default_model.available():
            folder, title = default_model.fetch()
            return pretrained.configuration(folder), title, []
        entry = "HuggingFaceTB/SmolLM2-135M"
        return published_configuration(entry), entry, [f"the configuration of {entry}: the default model is not here"]
    where, name = load.resolve(source)
    try:
        return pretrained.configuration(where), name, []
    except InputError as error:
        if name not in true_sizes():
            raise InputError(f"{error}; without it these are known: {', '.join(true_sizes())}") from error
        return (
            published_configuration(name),
            name,
            ["the published sizes of the model, and the default model's tokenizer: its own are not here"],
        )


def _tokenizer(source: str | Path | None, name: str) -> tuple[Any, list[str]]:
    """The model's own tokenizer; or else the default model's, and that this was taken."""
    path = Path(os.path.expanduser(source or default_model.NAME))
    where = str(path.parent) if os.path.isfile(path) else load.resolve(source)[0]
    try:
        # From a folder without a tokenizer's files transformers makes one that knows no words.
        if Path(where).is_dir() and not [*Path(where).glob("*token*"), *Path(where).glob("vocab*")]:
            raise FileNotFoundError(f"{where} holds no tokenizer")
        return pretrained.tokenizer(where), []
    except Exception as error:  # whatever is wrong with it, counts of tokens can be had from another
        folder, title = default_model.fetch()
        lack = f"the tokenizer of {title}: that of {name} cannot be read ({type(error.__cause__ or error).__name__})"
        return pretrained.tokenizer(folder), [lack]
