"""Records of tables, checked for the columns that a reader needs."""

from collections.abc import Collection, Iterable
from typing import Any

from headcount.results.errors import InputError
from headcount.results.storage.field_types import shown

CORRELATION_COLUMNS = ("rho", "low", "high", "null_low", "null_high")
"""The columns that every table of correlations has: the correlation, its interval, and what layers alone give."""


def checked(
    name: str, records: list[dict[str, Any]], columns: Iterable[str], texts: Collection[str]
) -> list[dict[str, Any]]:
    """Return the records of a table, if they have the columns that a reader needs, of the right kinds.

    Args:
        name: The name of the table, for the error message.
        records: One dict a row.
        columns: The columns that must be there.
        texts: The columns that hold text, if they are there; all others hold numbers. None may stand in any.

    Raises:
        InputError: A column is missing, or a value is of the other kind.
    """
    columns = list(columns)
    if missing := [column for column in columns if records and column not in records[0]]:
        reason = f"expected columns {', '.join(columns)}, got none of the name {missing[0]}"
        raise InputError(f"{name}: {reason}; run the study again")
    for record in records:
        for column, value in record.items():
            if not (value is None or isinstance(value, str if column in texts else int | float)):
                reason = f"expected {'text' if column in texts else 'numbers'} in column {column}"
                raise InputError(f"{name}: {reason}, got {shown(value)}; run the study again")
    return records
