"""A user's own task, from a folder of rows that state the context, the choices and the right ones themselves.

A row is a JSON object with `context` (what the model reads first), `choices` (what may follow, written as it follows:
usually with a leading space) and `gold` (the number of the right choice, counted from 0, or several). The row as a
solved example is its context, its right choice and an empty line, unless a field `shot` states it whole. With one
choice, the model is right if it is the greedy continuation (`greedy`); with more, if the right one is the likeliest
(`acc`).
"""

import os
import re
from pathlib import Path

from headcount.importance.prompts.user_rows import UserPrompts
from headcount.importance.rows.folder import read_folder
from headcount.importance.rows.schema import Kind, Row, check_row
from headcount.importance.tasks.task import Profile, Task
from headcount.results import InputError

FIELDS: dict[str, Kind] = {"context": "string", "choices": "texts"}
# Names of results are made from names of tasks; these two are the means over tasks.
TAKEN = ("mean", "rank-mean")
NAME = re.compile(r"\w[\w.+-]{0,99}", re.ASCII)


def has_user_task(name: str, data: str | Path | None) -> bool:
    """Return True if a folder holds the rows of a task of this name."""
    return data is not None and Path(name).name == name and os.path.isfile(Path(data) / f"{name}.jsonl")


def load_user_task(name: str, profile: Profile, data: str | Path) -> Task:
    """Load the task of this name from a folder.

    Raises:
        InputError: A row is not what it should be, and the message names the file and the line; or the task's name is
            taken.
    """
    if name in TAKEN:
        raise InputError(
            f"no task can be called {name}: a run stores the mean over tasks by that name; rename {name}.jsonl"
        )
    if not NAME.fullmatch(name):
        raise InputError(
            f"no task can be called {name!r:.80}, since files are named after it: rename its .jsonl to letters, digits "
            "and _ . + - (100 at most)"
        )
    rows = read_folder(Path(data), name, _checked)
    single = all(len(row["choices"]) == 1 for row in rows.scored)
    return Task(name, profile, "greedy" if single else "acc", rows, UserPrompts(), (*FIELDS, "gold"))


def _checked(row: object, place: str) -> Row:
    checked = check_row(row, FIELDS, place)
    gold, n = checked.get("gold"), len(checked["choices"])
    numbers = gold if isinstance(gold, list) else [gold]
    if not numbers or not all(type(number) is int and 0 <= number < n for number in numbers):
        raise InputError(
            f"{place}: expected 'gold' to be the number of a choice, 0 to {n - 1}, or several, got {gold!r}"
        )
    if not isinstance(checked.get("shot", ""), str):
        raise InputError(f"{place}: expected 'shot' to be text, got {checked['shot']!r}")
    return checked
