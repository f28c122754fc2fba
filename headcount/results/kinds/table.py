"""A tidy table: the result of an analysis of several results, one row for each thing that it is about."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pandas as pd

from headcount.results.errors import InputError
from headcount.results.storage import checks, field_types
from headcount.results.storage.stored import JSON, Stored

Value = str | int | float | bool | None
Rows = tuple[tuple[Any, ...], ...]


@dataclass(frozen=True, eq=False, repr=False)
class Table(Stored):
    """Rows of named values.

    Attributes:
        columns: The names of the columns, all different.
        rows: One value for each column; numbers, text, truth values or None.
        definition: The meaning of the rows and how they were computed, in a sentence.
        provenance: Everything that is needed to compute it again, as JSON can hold it.

    Raises:
        InputError: A field is not what its annotation says, two columns have one name or one has none, a row does not
            have one value for each column, or it has one that a table cannot hold, whole numbers from 2^63 included.
    """

    suffix: ClassVar[str] = JSON

    columns: tuple[str, ...]
    rows: tuple[tuple[Value, ...], ...]
    definition: str = ""
    provenance: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._set("columns", checks.texts("columns", self.columns))
        if len({*self.columns, ""}) <= len(self.columns):
            raise InputError(f"columns: expected a different name for each, got {field_types.shown(self.columns)}")
        field_types.check_field("definition", self.definition, str)
        field_types.check_field("rows", self.rows, Rows)
        self._copy_fields()
        for row in self.rows:
            if len(row) != len(self.columns):
                raise InputError(f"expected one value for each of {', '.join(self.columns)}, got {len(row)}: {row}")
            if not field_types.fits(row, tuple[Value, ...]):
                raise InputError(
                    f"expected numbers, text, truth values or None in a table, got {field_types.shown(row)}"
                )

    @classmethod
    def of(cls, records: Iterable[Mapping[str, Value]], definition: str = "", **provenance: Any) -> "Table":
        """Return a table of records that all have the same keys."""
        listed = list(records)
        columns = tuple(listed[0]) if listed else ()
        return cls(columns, tuple(tuple(record[name] for name in columns) for record in listed), definition, provenance)

    def records(self) -> list[dict[str, Value]]:
        """Return one dict a row."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]

    def to_frame(self) -> pd.DataFrame:
        """Return the table as a data frame."""
        return pd.DataFrame([list(row) for row in self.rows], columns=list(self.columns))

    def __repr__(self) -> str:
        return f"Table({self.definition}: {len(self.rows)} rows of {', '.join(self.columns)})"


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
                raise InputError(f"{name}: {reason}, got {field_types.shown(value)}; run the study again")
    return records
