"""The tasks of a plan: where rows are missing on this machine, placeholders of typical length take their place."""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from itertools import cycle, islice

from headcount.importance import Task
from headcount.importance.internal import (
    WORD_LISTS,
    Profile,
    Row,
    Rows,
    TaskSetup,
    UserPrompts,
    paper_tasks,
    resolve_name,
)
from headcount.results import InputError
from headcount.study import StudyConfig, StudyTask, TaskGroup, check_distinct, load_tasks

TEXT = """After the long winter most of the birds that had left the valley came back to their old trees, and people
said that nothing else tells the end of cold days as surely as a morning song outside the window does."""
ROWS = 60
"""Placeholder rows of a task: more than are looked at."""


@dataclass(frozen=True)
class PublishedSetup(TaskSetup):
    """A task counted with as many rows as it has as published.

    Attributes:
        scored: The number of rows to score.
        pool: The number of rows to take examples from.
    """

    scored: int = 0
    pool: int = 0

    @property
    def documents(self) -> int:
        """The number of documents that are scored, at most."""
        return self.at_most(self.scored)

    @property
    def examples(self) -> int:
        """The number of examples that gradients are taken on, at most."""
        return self.at_most(self.pool)


@cache
def published_rows() -> dict[str, dict[str, int]]:
    """Return the numbers and lengths of rows of the paper's tasks, which are known without the rows."""
    return tomllib.loads(files("headcount.planning").joinpath("published.toml").read_text(encoding="utf-8"))


def load_or_replace_tasks(config: StudyConfig) -> tuple[list[StudyTask], list[str]]:
    """Load the tasks of a study, with placeholder rows in place of missing ones.

    Returns:
        The tasks, and a sentence about those with placeholders, if there are any.

    Raises:
        InputError: A task is unknown, its rows are missing and it is not one of the paper's, or it comes twice.
    """
    tasks: list[StudyTask] = []
    missing: dict[str, str] = {}
    for group in config.tasks:
        for name in group.names:
            known = resolve_name(name)
            try:
                if missing and _is_on_hub(known, group.data or config.data):
                    raise InputError("the Hub did not answer before")  # another try would take minutes
                tasks += load_tasks(_alone(config, group, name))
            except InputError as error:
                if known not in published_rows():
                    raise
                missing[known] = str(error)
                tasks += _placeholders(config, group, known)
    check_distinct(tasks)
    if not missing:
        return tasks, []
    reason = next(iter(missing.values()))[:160]
    note = f"made-up rows of typical length, as many as are published, for {', '.join(missing)}: theirs are not here"
    return tasks, [f"{note} ({reason})"]


def with_published_rows(tasks: Sequence[StudyTask]) -> tuple[list[StudyTask], list[str]]:
    """Return the same tasks, those of the paper with as many rows as published, where fewer are here.

    Returns:
        The tasks, and a sentence about those whose number of rows was changed, if there are any.
    """
    published = [replace(task, setup=_as_published(task.setup)) for task in tasks]
    changed = dict.fromkeys(
        new.setup.task.name for old, new in zip(tasks, published, strict=True) if new.setup != old.setup
    )
    note = f"as many rows as are published, of the lengths of those that are here: {', '.join(changed)}"
    return published, [note] if changed else []


def placeholder_task(name: str, profile: Profile) -> Task:
    """Return a task with meaningless rows, as long as those of one of the paper's tasks."""
    scored, pool = ([_row(name, split, number) for number in range(ROWS)] for split in range(2))
    source = {"source": "made up", "notes": ["rows of typical length, for a plan of costs"]}
    metric = "greedy" if published_rows()[name]["choices"] == 1 else "acc"
    return Task(name, profile, metric, Rows(scored, pool, source), UserPrompts(), ("context", "choices", "number"))


def _is_on_hub(name: str, data: str | None) -> bool:
    """True if the rows of a task would come from the Hub."""
    return name in paper_tasks() and paper_tasks()[name].wheel is None and data is None


def _alone(config: StudyConfig, group: TaskGroup, name: str) -> StudyConfig:
    """The study with one task only; for a word list, a folder of rows that is missing does not matter."""
    no_rows = {"data": None} if resolve_name(name) in WORD_LISTS else {}
    return config.model_copy(update={"tasks": [group.model_copy(update={"names": [name], **no_rows})], **no_rows})


def _placeholders(config: StudyConfig, group: TaskGroup, name: str) -> list[StudyTask]:
    counts, task = published_rows()[name], placeholder_task(name, config.profile)
    return [
        StudyTask(PublishedSetup(task, shots, group.limit, config.seed, counts["scored"], counts["pool"]), group)
        for shots in group.shots
    ]


def _as_published(setup: TaskSetup) -> TaskSetup:
    counts = published_rows().get(setup.task.name)
    if counts is None or isinstance(setup, PublishedSetup) or len(setup.task.rows.scored) >= counts["scored"]:
        return setup
    return PublishedSetup(setup.task, setup.shots, setup.limit, setup.seed, counts["scored"], counts["pool"])


def _row(name: str, split: int, number: int) -> Row:
    entry = published_rows()[name]
    context = _words(entry["context"], number + 20 * split)
    choices = [f" {_words(entry['choice'], 3 * choice)}" for choice in range(entry["choices"])]
    shot = f"{_words(entry['shot'], number + 20 * split)}\n\n"
    return {"context": context, "choices": choices, "gold": 0, "shot": shot, "label": 1, "number": number}


def _words(n: int, start: int) -> str:
    words = TEXT.split()
    return " ".join(islice(cycle(words), start % len(words), start % len(words) + n))
