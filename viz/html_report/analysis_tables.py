"""A study's tables of analyses, found by their names in a run and checked for their columns."""

from collections.abc import Iterable, Mapping
from math import nan
from typing import Any, TypeVar

from headcount.results import Result, ResultName, Table
from headcount.results.internal import checked
from headcount.viz import number_format

Row = Mapping[str, Any]
Kind = TypeVar("Kind")

VARIANT = ("variant", "within")
VARIANTS = {
    ("spearman", None): "",
    ("spearman", "layer"): "ranks within layers",
    ("argsort", None): "argsort, as the published code computes it",
}
"""The titles of the kinds of correlation, by the values of the columns in `VARIANT`."""

CORRELATION_HEADINGS = ("rho", "95 %", "layers alone")

TEXT_COLUMNS = {"a", "b", "measure", "score", "setting", "task", *VARIANT}
TEXT_COLUMNS |= {"claim", "criterion", "evidence", "published", "source", "verdict"}
"""The columns of analyses that hold text; all others hold numbers."""


def results_at_shots(results: Mapping[str, Result], kind: type[Kind]) -> list[tuple[ResultName, int, Kind]]:
    """Return the results of a kind with their names and numbers of shots, fewer shots first."""
    matches = []
    for text, result in results.items():
        name = ResultName.parse(text)
        if name is None or not isinstance(result, kind):
            continue
        shots = name.shots if name.setting is None else name.setting.shots
        if shots is not None:
            matches.append((name, shots, result))
    return sorted(matches, key=lambda match: match[1])


def tables_at_shots(
    results: Mapping[str, Result], topic: str, columns: Iterable[str]
) -> list[tuple[int, list[dict[str, Any]]]]:
    """Return the numbers of shots at which an analysis has rows, fewer first, and these rows.

    Raises:
        InputError: A table lacks one of the columns, or has text in place of numbers.
    """
    tables = [
        (shots, records(name, table, columns))
        for name, shots, table in results_at_shots(results, Table)
        if name == ResultName.analysis(topic, shots)
    ]
    return [(shots, rows) for shots, rows in tables if rows]


def analysis(
    results: Mapping[str, Result], topic: str, columns: Iterable[str], shots: int | None = None
) -> list[dict[str, Any]]:
    """Return the rows of one analysis; none if it is not in the run.

    Raises:
        InputError: The table lacks one of the columns, or has text in place of numbers.
    """
    name = ResultName.analysis(topic, shots)
    return records(name, results.get(str(name)), columns)


def records(name: ResultName, table: Result | None, columns: Iterable[str]) -> list[dict[str, Any]]:
    """Return the rows of a table; none if it is no table.

    Raises:
        InputError: It lacks one of the columns, or has text in place of numbers.
    """
    return checked(str(name), table.records(), columns, TEXT_COLUMNS) if isinstance(table, Table) else []


def of_variant(rows: Iterable[Row], variant: tuple[str, str | None]) -> list[Row]:
    """Return the rows of one kind of correlation."""
    return [row for row in rows if tuple(row[column] for column in VARIANT) == variant]


def correlation_cells(row: Row) -> list[str]:
    """Return the cells below `CORRELATION_HEADINGS`: rho, its interval, and the interval of permuted heads."""
    return [
        number_format.decimal(row["rho"]),
        number_format.interval(row["low"], row["high"]),
        number_format.interval(row["null_low"], row["null_high"]),
    ]


def number_or_nan(value: float | None) -> float:
    """Return a table's number; NaN for None, which stands for what was not measured."""
    return nan if value is None else value
