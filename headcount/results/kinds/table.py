"""A tidy table: what an analysis of several results gives, one row for each thing it speaks of."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, ClassVar

import pandas as pd

from headcount.results.errors import InputError
from headcount.results.storage import checks, field_types, files
from headcount.results.storage.stored import Stored

Value = str | int | float | bool | None
Rows = tuple[tuple[Any, ...], ...]
_OF_SCORES = ("a", "b", "by", "measure", "score", "setting", "task", "variant", "within")
_OF_CLAIMS = ("claim", "criterion", "evidence", "published", "source", "verdict")
TEXTS = frozenset((*_OF_SCORES, *_OF_CLAIMS))
"""Columns of analyses that hold text; the others hold numbers."""


@dataclass(frozen=True, eq=False, repr=False)
class Table(Stored):
    """Rows of named values.

    Attributes:
        columns: The names of the columns, no two of them alike.
        rows: One value for each column; numbers, text, truth values or None.
        definition: What the rows say and how they were computed, in a sentence.
        provenance: What is needed to compute it again, as JSON can hold it.

    Raises:
        InputError: A field is not what its annotation says, two columns have one name or one has none, a row does not
            have one value for each column, or it has one that a table cannot hold, whole numbers from 2^63 included.
    """

    suffix: ClassVar[str] = ".json"

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
        self._set("rows", tuple(tuple(row) for row in self.rows))
        self._set("provenance", checks.json_dict("provenance", self.provenance))
        for row in self.rows:
            if len(row) != len(self.columns):
                raise InputError(f"expected one value for each of {', '.join(self.columns)}, got {len(row)}: {row}")
            if not field_types.fits(row, tuple[Value, ...]):
                raise InputError(
                    f"expected numbers, text, truth values or None in a table, got {field_types.shown(row)}"
                )

    @classmethod
    def of(cls, records: Iterable[Mapping[str, Value]], definition: str = "", **provenance: Any) -> "Table":
        """A table of records that all have the same keys."""
        listed = list(records)
        columns = tuple(listed[0]) if listed else ()
        return cls(columns, tuple(tuple(record[name] for name in columns) for record in listed), definition, provenance)

    def records(self) -> list[dict[str, Value]]:
        """One dict a row."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]

    def to_frame(self) -> pd.DataFrame:
        """The same as a data frame."""
        return pd.DataFrame([list(row) for row in self.rows], columns=list(self.columns))

    def __repr__(self) -> str:
        return f"Table({self.definition}: {len(self.rows)} rows of {', '.join(self.columns)})"

    def to_content(self) -> files.Content:
        """What a file holds of this."""
        rows = [[_kept(value) for value in row] for row in self.rows]
        kept = {"columns": list(self.columns), "rows": rows, "definition": self.definition}
        return files.Content(type(self).__name__, kept | {"provenance": self.provenance})

    @classmethod
    def arguments(cls, content: files.Content) -> dict[str, Any]:
        """The arguments that make the same object again from a file's content."""
        field_types.check_field("rows", content.fields["rows"], Rows)
        rows = [[_restored(value) for value in row] for row in content.fields["rows"]]
        return {**content.fields, "rows": rows}


def checked(name: str, records: list[dict[str, Any]], columns: Iterable[str]) -> list[dict[str, Any]]:
    """The same records, if those of an analysis have these columns, and hold text in `TEXTS` and numbers in the others.

    Raises:
        InputError: A column is missing, or a value is of the other kind; None may stand anywhere.
    """
    if lacking := [column for column in columns if records and column not in records[0]]:
        reason = f"expected columns {', '.join(columns)}, got none of the name {lacking[0]}"
        raise InputError(f"{name}: {reason}; run the study again")
    for record in records:
        for column, value in record.items():
            if not (value is None or isinstance(value, str if column in TEXTS else int | float)):
                reason = f"expected {'text' if column in TEXTS else 'numbers'} in column {column}"
                raise InputError(f"{name}: {reason}, got {field_types.shown(value)}; run the study again")
    return records


def _kept(value: Value) -> Any:
    """NaN and infinities, which JSON lacks, as a word in a list of its own."""
    return [str(value)] if isinstance(value, float) and not isfinite(value) else value


def _restored(value: Any) -> Value:
    """What `_kept` has kept."""
    if not isinstance(value, list):
        return value
    (word,) = value
    return checks.number("rows", word)
