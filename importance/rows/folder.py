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
from headcount.results.storage import files

HALF = re.compile(r"\\u[dD][89a-fA-F]")
HALF_LETTER = re.compile("[\ud800-\udfff]")
Check = Callable[[object, str], Row]


def read_folder(folder: Path, name: str, check: Check) -> Rows:
    """The rows of a task in a folder.

    The pool is the train rows, then the shots rows; either file may be missing.

    Args:
        folder: The folder.
        name: The task, which the files are named after.
        check: Gives back a row that is right, given what a line holds and where it is.

    Raises:
        InputError: The folder or the task's file is not there, or a file or line is not what it should be.
    """
    check_folder(folder)
    scored = folder / f"{name}.jsonl"
    if not os.path.isfile(scored):
        raise InputError(f"{folder} has no {scored.name}: it holds the rows of {tasks_in(folder)}")
    others = [path for path in (folder / f"{name}.train.jsonl", folder / f"{name}.shots.jsonl") if os.path.isfile(path)]
    rows = {path: _read(path, check) for path in (scored, *others)}
    files = {path.name: {"sha256": _sha256(path), "rows": len(found)} for path, found in rows.items()}
    source = {
        "source": "folder",
        "folder": str(folder),
        "files": files,
        "scored": scored.name,
        "pool": [path.name for path in others],
        "split": "as the files are",
    }
    return Rows(rows[scored], [row for path in others for row in rows[path]], source)


def check_folder(folder: Path) -> None:
    """Raises `InputError` if there is no such folder."""
    if not os.path.isdir(folder):
        state = "is a file" if os.path.exists(folder) else "is not there"
        raise InputError(f"expected a folder of task rows, but {folder} {state}")


def tasks_in(folder: Path) -> str:
    """The tasks whose rows a folder holds, for a message."""
    found = sorted(path.stem for path in folder.glob("*.jsonl") if "." not in path.stem)
    return ", ".join(found[:20]) or "no task"


def _read(path: Path, check: Check) -> list[Row]:
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
        row = json.loads(line, object_pairs_hook=files.single)
    except json.JSONDecodeError as error:
        raise InputError(f"{place}: expected a JSON object, but column {error.colno}: {error.msg}") from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, or brackets without end
        raise InputError(f"{place}: expected a JSON object, but {error}") from error
    if HALF.search(line) and HALF_LETTER.search(json.dumps(row, ensure_ascii=False)):
        raise InputError(f"{place}: expected text, but it holds half of a letter (a lone surrogate such as \\ud800)")
    return row


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
