"""Names of tasks: the built-in word lists, the paper's sixteen, and, by exact name, lm-eval's others."""

import difflib
from collections.abc import Sequence

from headcount.importance.rows.definitions import paper_tasks
from headcount.results import InputError

WORD_LISTS = ("country_capital", "antonym", "plural", "past_tense", "letter_case", "key_value")


def task_names() -> list[str]:
    """Return every task that needs no lm-eval index: the built-in lists, then the sixteen."""
    return [*WORD_LISTS, *paper_tasks()]


def resolve_name(name: str) -> str:
    """Return the task of this name or alias, capitals, hyphens and spaces aside; else `name` as it came."""
    aliases = {alias: task for task, definition in paper_tasks().items() for alias in definition.aliases}
    aliases |= {task: task for task in task_names()}
    return aliases.get(_normal_form(name), name)


def unknown_task(name: str, lm_eval_names: Sequence[str]) -> InputError:
    """Return the error for a name that no task has, with the nearest names that one has."""
    near = difflib.get_close_matches(_normal_form(name), task_names(), 3, 0.5)
    near += [match for match in difflib.get_close_matches(name, lm_eval_names, 3, 0.7) if match not in near]
    advice = f"did you mean {' or '.join(near[:4])}?" if near else f"there are {', '.join(task_names())}"
    return InputError(f"no task is called {name!r}: {advice} (any task of lm-eval can be named, too)")


def _normal_form(name: str) -> str:
    return name.strip().lower().replace("-", "_").replace(" ", "_")
