"""The tasks by name: the paper's sixteen, the built-in word lists, and, asked for by exact name, lm-eval's others."""

import difflib

from headcount.importance.rows.definitions import sixteen
from headcount.results import InputError

LISTS = ("country_capital", "antonym", "plural", "past_tense", "letter_case", "key_value")


def names() -> list[str]:
    """Every task that needs no lm-eval index: the built-in lists, then the sixteen."""
    return [*LISTS, *sixteen()]


def resolve(name: str) -> str:
    """The task that `name` or an alias of it means, capitals, hyphens and spaces aside; else `name` as it came."""
    plain = name.strip().lower().replace("-", "_").replace(" ", "_")
    known = {alias: task for task, entry in sixteen().items() for alias in entry.aliases}
    known |= {task: task for task in names()}
    return known.get(plain, name)


def unknown(name: str, others: list[str]) -> InputError:
    """The error for a task that is not there, offering the names nearest to it."""
    plain = name.strip().lower().replace("-", "_").replace(" ", "_")
    near = difflib.get_close_matches(plain, names(), 3, 0.5)
    near += [other for other in difflib.get_close_matches(name, others, 3, 0.7) if other not in near]
    advice = f"did you mean {' or '.join(near[:4])}?" if near else f"there are {', '.join(names())}"
    return InputError(f"no task is called {name!r}: {advice} (any task of lm-eval can be named, too)")
