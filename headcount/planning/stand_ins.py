"""Tasks whose rows are not here, or not all of them: what stands in for them in a plan."""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from itertools import cycle, islice

from headcount.importance import Task
from headcount.importance.rows.definitions import sixteen
from headcount.importance.rows.rows import Rows
from headcount.importance.rows.schema import Row
from headcount.importance.tasks.catalogue import LISTS, resolve
from headcount.importance.tasks.own import Own
from headcount.importance.tasks.setup import TaskSetup
from headcount.importance.tasks.task import Profile
from headcount.results import InputError
from headcount.study.config import Study
from headcount.study.study import Asked, asked_settings, check_once

TEXT = """After the long winter most of the birds that had left the valley came back to their old trees, and people
said that nothing else tells the end of cold days as surely as a morning song outside the window does."""
ROWS = 60
"""Rows that are made up: more than are looked at."""


@dataclass(frozen=True)
class Published(TaskSetup):
    """A setting on as many rows as the task has as published.

    Attributes:
        scored: Rows to score.
        pool: Rows to take examples from.
    """

    scored: int = 0
    pool: int = 0

    @property
    def documents(self) -> int:
        """How many documents are scored, at most."""
        return self._of(self.scored)

    @property
    def examples(self) -> int:
        """How many examples gradients are taken on, at most."""
        return self._of(self.pool)


@cache
def published() -> dict[str, dict[str, int]]:
    """What is known of the paper's tasks without a row of them."""
    return tomllib.loads(files("headcount.planning").joinpath("published.toml").read_text(encoding="utf-8"))


def asked_or_standing_in(config: Study) -> tuple[list[Asked], list[str]]:
    """What a study asks, made-up rows in place of those that are not to be had; and a sentence for each such task.

    Raises:
        InputError: A task is unknown, is not to be had and not one of the paper's, or is asked for twice.
    """
    found: list[Asked] = []
    lacking: dict[str, str] = {}
    for group in config.tasks:
        for name in group.names:
            known = resolve(name)
            no_rows = {"data": None} if known in LISTS else {}  # a folder that is not there does not matter to them
            alone = config.model_copy(
                update={"tasks": [group.model_copy(update={"names": [name], **no_rows})], **no_rows}
            )
            remote = known in sixteen() and sixteen()[known].wheel is None and (group.data or config.data) is None
            try:
                if remote and lacking:
                    raise InputError("the Hub did not answer before")  # it takes minutes to find that out again
                found += asked_settings(alone)
            except InputError as error:
                if known not in published():
                    raise
                lacking[known] = str(error)
                found += _standing_in(alone, known)
    check_once(found)
    names = ", ".join(lacking)
    reason = next(iter(lacking.values()), "")[:160]
    said = f"made-up rows of typical length, as many as are published, for {names}: theirs are not here ({reason})"
    return found, [said] if lacking else []


def with_published_rows(settings: Sequence[Asked]) -> tuple[list[Asked], list[str]]:
    """The same with as many rows as the paper's tasks have as published, where there are fewer here."""
    found = [replace(asked, setting=_as_published(asked.setting)) for asked in settings]
    more = dict.fromkeys(
        new.setting.task.name for old, new in zip(settings, found, strict=True) if new.setting != old.setting
    )
    said = f"as many rows as are published, of the lengths of those that are here: {', '.join(more)}"
    return found, [said] if more else []


def _as_published(setting: TaskSetup) -> TaskSetup:
    counts = published().get(setting.task.name)
    if counts is None or isinstance(setting, Published) or len(setting.task.rows.scored) >= counts["scored"]:
        return setting
    return Published(setting.task, setting.shots, setting.limit, setting.seed, counts["scored"], counts["pool"])


def _standing_in(alone: Study, name: str) -> list[Asked]:
    (group,), counts = alone.tasks, published()[name]
    task = made_up(name, alone.profile)
    return [
        Asked(Published(task, shots, group.limit, alone.seed, counts["scored"], counts["pool"]), group)
        for shots in group.shots
    ]


def made_up(name: str, profile: Profile) -> Task:
    """A task with rows as long as those of one of the paper's tasks, which mean nothing."""
    scored, pool = ([_row(name, split, number) for number in range(ROWS)] for split in range(2))
    source = {"source": "made up", "notes": ["rows of typical length, for a plan of costs"]}
    metric = "greedy" if published()[name]["choices"] == 1 else "acc"
    return Task(name, profile, metric, Rows(scored, pool, source), Own(), ("context", "choices", "number"))


def _row(name: str, split: int, number: int) -> Row:
    entry = published()[name]
    context = _words(entry["context"], number + 20 * split)
    choices = [f" {_words(entry['choice'], 3 * choice)}" for choice in range(entry["choices"])]
    shot = f"{_words(entry['shot'], number + 20 * split)}\n\n"
    return {"context": context, "choices": choices, "gold": 0, "shot": shot, "label": 1, "number": number}


def _words(n: int, start: int) -> str:
    words = TEXT.split()
    return " ".join(islice(cycle(words), start % len(words), start % len(words) + n))
