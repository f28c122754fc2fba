"""Rows from a folder of JSON Lines: TASK.jsonl to score, TASK.train.jsonl and TASK.shots.jsonl to draw from."""

import hashlib
import json
import os
import re
from collections.abc import Callable
from pathlib import Path

from headcount.importance.rows.rows import Rows
from headcount.importance.rows.schema import Row
from headcount.results import InputError
from headcount.results.internal import unique_keys

SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")
SURROGATE = re.compile("[\ud800-\udfff]")
RowCheck = Callable[[object, str], Row]
"""Returns a row that is right, and refuses others; called with a row as it was read, and its place."""


def read_folder(folder: Path, name: str, check: RowCheck) -> Rows:
    """Read the rows of a task in a folder.

    The pool is the train rows, then the shots rows; either file may be missing.

    Args:
        folder: The folder.
        name: The task, which the files are named after.
        check: Called with each row and its place; returns a row that is right.

    Raises:
        InputError: The folder or the task's file is not there, or a file or line is not what it should be.
    """
    check_rows_folder(folder)
    scored = folder / f"{name}.jsonl"
    if not os.path.isfile(scored):
        raise InputError(f"{folder} has no {scored.name}: it holds the rows of {tasks_in(folder)}")
    pool_files = [
        path for path in (folder / f"{name}.train.jsonl", folder / f"{name}.shots.jsonl") if os.path.isfile(path)
    ]
    rows = {path: _read(path, check) for path in (scored, *pool_files)}
    files = {path.name: {"sha256": _sha256(path), "rows": len(file_rows)} for path, file_rows in rows.items()}
    source = {
        "source": "folder",
        "folder": str(folder),
        "files": files,
        "scored": scored.name,
        "pool": [path.name for path in pool_files],
        "split": "as the files are",
    }
    return Rows(rows[scored], [row for path in pool_files for row in rows[path]], source)


def check_rows_folder(folder: Path) -> None:
    """Raise `InputError` if there is no such folder."""
    if not os.path.isdir(folder):
        state = "is a file" if os.path.exists(folder) else "is not there"
        raise InputError(f"expected a folder of task rows, but {folder} {state}")


def tasks_in(folder: Path) -> str:
    """Return the names of the tasks whose rows a folder holds, for a message."""
    names = sorted(path.stem for path in folder.glob("*.jsonl") if "." not in path.stem)
    return ", ".join(names[:20]) or "no task"


def _read(path: Path, check: RowCheck) -> list[Row]:
    try:
        with path.open(encoding="utf-8") as file:
            rows = [
                check(_parse(line, f"{path}, line {number}"), f"{path}, line {number}")
                for number, line in enumerate(file, start=1)
                if line.strip()
            ]
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: expected text in UTF-8, but byte {error.start} is not") from error
    if not rows:
        raise InputError(f"{path} is empty: expected one JSON object a line")
    return rows


def _parse(line: str, place: str) -> object:
    try:
        row = json.loads(line, object_pairs_hook=unique_keys)
    except json.JSONDecodeError as error:
        raise InputError(f"{place}: expected a JSON object, but column {error.colno}: {error.msg}") from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, or brackets without end
        raise InputError(f"{place}: expected a JSON object, but {error}") from error
    if SURROGATE_ESCAPE.search(line) and SURROGATE.search(json.dumps(row, ensure_ascii=False)):
        raise InputError(f"{place}: expected text, but it holds half of a letter (a lone surrogate such as \\ud800)")
    return row


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
