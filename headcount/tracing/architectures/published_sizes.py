"""Configurations of published models, as a table: for models whose files are out of reach."""

import tomllib
from functools import cache
from importlib.resources import files
from typing import Any


@cache
def published_sizes() -> dict[str, dict[str, Any]]:
    """Return configurations of published models by their names on the Hub."""
    table = files("headcount.tracing.architectures").joinpath("published_sizes.toml")
    return tomllib.loads(table.read_text(encoding="utf-8"))


def published_configuration(name: str) -> Any:
    """Return the transformers configuration of a model in the table."""
    import transformers

    entry = dict(published_sizes()[name])
    return transformers.AutoConfig.for_model(entry.pop("model_type"), **entry)
