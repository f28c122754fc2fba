"""A person's own task: rows that say themselves what is read, what may follow, and what is right.

A row is a JSON object with `context` (what the model reads first), `choices` (what may follow, written as it follows:
usually with a leading space) and `gold` (the number of the right choice, counted from 0, or several). The row as a
solved example is its context, its right choice and an empty line, unless a field `shot` gives it whole. With one
choice, the model is right where it would say that by itself (`greedy`); with more, where it is the likeliest (`acc`).
"""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from headcount.importance.documents import Prompt
from headcount.importance.rows.folder import read_folder
from headcount.importance.rows.schema import Kind, Row, check
from headcount.importance.tasks.task import Profile, Task
from headcount.results import InputError

FIELDS: dict[str, Kind] = {"context": "string", "choices": "texts"}
# Names of results are made from names of tasks; these two are the means over tasks.
TAKEN = ("mean", "rank-mean")
NAME = re.compile(r"\w[\w.+-]{0,99}", re.ASCII)


def is_own(name: str, data: str | Path | None) -> bool:
    """Whether a folder holds the rows of a task of this name."""
    return data is not None and Path(name).name == name and os.path.isfile(Path(data) / f"{name}.jsonl")


def load_own(name: str, profile: Profile, data: str | Path) -> Task:
    """The task of this name in a folder.

    Raises:
        InputError: A row is not what it should be, and the message names the file and the line; or the task's name is
            taken.
    """
    if name in TAKEN:
        raise InputError(f"no task can be called {name}: a run keeps the mean over tasks under it; rename {name}.jsonl")
    if not NAME.fullmatch(name):
        raise InputError(
            f"no task can be called {name!r:.80}, since files are named after it: rename its .jsonl to letters, digits "
            "and _ . + - (100 at most)"
        )
    rows = read_folder(Path(data), name, _checked)
    single = all(len(row["choices"]) == 1 for row in rows.scored)
    return Task(name, profile, "greedy" if single else "acc", rows, Own(), (*FIELDS, "gold"))


class Own:
    """Prompts of rows that bring everything themselves."""

    def prompts(self, rows: Sequence[Row]) -> list[Prompt]:
        """The prompts of rows."""
        return [_prompt(row) for row in rows]


def _prompt(row: Row) -> Prompt:
    choices = tuple(row["choices"])
    gold = _gold(row)
    shot = row.get("shot", f"{row['context']}{choices[gold[0]]}\n\n")
    return Prompt((row["context"],) * len(choices), choices, gold, shot)


def _gold(row: Row) -> tuple[int, ...]:
    return tuple(row["gold"]) if isinstance(row["gold"], list) else (row["gold"],)


def _checked(row: object, place: str) -> Row:
    good = check(row, FIELDS, place)
    right, n = good.get("gold"), len(good["choices"])
    numbers = right if isinstance(right, list) else [right]
    if not numbers or not all(type(number) is int and 0 <= number < n for number in numbers):
        raise InputError(
            f"{place}: expected 'gold' to be the number of a choice, 0 to {n - 1}, or several, got {right!r}"
        )
    if not isinstance(good.get("shot", ""), str):
        raise InputError(f"{place}: expected 'shot' to be text, got {good['shot']!r}")
    return good
