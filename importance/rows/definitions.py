"""Definitions of the paper's sixteen tasks: the sources of their rows, and the fields of each row."""

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from headcount.importance.rows.schema import Kind


@dataclass(frozen=True)
class TaskDefinition:
    """One of the sixteen; tasks.toml explains each entry."""

    name: str
    lm_eval: str
    hub: tuple[str, ...]
    scored: str
    fields: dict[str, Kind]
    train: str = "train"
    wheel: str | None = None
    metric: str = "acc"
    classes: bool = False
    aliases: tuple[str, ...] = ()


@cache
def paper_tasks() -> dict[str, TaskDefinition]:
    """Return the definitions of the paper's tasks by name."""
    entries = tomllib.loads(files("headcount.importance.rows").joinpath("tasks.toml").read_text(encoding="utf-8"))
    return {name: _definition(name, entry) for name, entry in entries.items()}


def _definition(name: str, entry: dict[str, Any]) -> TaskDefinition:
    lists = {key: tuple(value) for key, value in entry.items() if isinstance(value, list)}
    return TaskDefinition(name=name, **(entry | lists))
