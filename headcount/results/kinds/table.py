"""A tidy table: the result of an analysis of several results, one row for each thing that it is about."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from headcount.results.errors import InputError
from headcount.results.storage import checks, field_types
from headcount.results.storage.stored import JSON, Stored

if TYPE_CHECKING:
    import pandas as pd

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

    def to_frame(self) -> "pd.DataFrame":
        """Return the table as a data frame."""
        import pandas as pd

        return pd.DataFrame([list(row) for row in self.rows], columns=list(self.columns))

    def __repr__(self) -> str:
        return f"Table({self.definition}: {len(self.rows)} rows of {', '.join(self.columns)})"
