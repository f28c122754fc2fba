"""A task's rows: those that are scored, and the pool that shots and importance examples come from."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from headcount.importance.rows.schema import Row

HALVES = "one split in two by a hash of each row's content: one half scored, the other the pool"


@dataclass(frozen=True)
class Rows:
    """The rows of a task.

    Args:
        scored: The rows that accuracy is measured on, in original order.
        pool: The rows that shots and importance examples are drawn from, in original order; may be empty.
        source: The source of the rows and how they were split, as JSON can hold it.
    """

    scored: Sequence[Row]
    pool: Sequence[Row]
    source: dict[str, Any]


def content_hash(row: Row, fields: Iterable[str]) -> str:
    """Return a hash of the fields that a row's task reads; a row's number or name does not change it.

    Args:
        row: The row.
        fields: The fields that count; a question's number (`idx`) is left out.

    Returns:
        64 hexadecimal digits.
    """
    values = {name: row[name] for name in sorted(fields) if name != "idx"}
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()


def halves(rows: Sequence[Row], fields: Iterable[str]) -> tuple[list[Row], list[Row]]:
    """Split rows in two: a part to score, and a part to draw from.

    The part depends on the row's content alone, so the order of rows does not matter and duplicates stay together.
    """
    names = sorted(fields)
    parts: tuple[list[Row], list[Row]] = ([], [])
    for row in rows:
        parts[int(content_hash(row, names)[0], 16) % 2].append(row)
    return parts
