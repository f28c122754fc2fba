"""What a section of the report shows one at a time, and how it finds the results to show."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import plotly.graph_objects as go

from headcount.results import Result, Table
from headcount.results.kinds.table import checked

KINDS = {
    ("spearman", None): "",
    ("spearman", "layer"): "ranks within layers",
    ("argsort", None): "argsort, as the published code computes it",
}


@dataclass(frozen=True, eq=False)
class View:
    """One of the things that a section shows one at a time.

    Attributes:
        title: What it is, in the list to choose from.
        figure: Its figure; None where a table says all, as then in all views of the section.
        caption: Above its table.
        columns: The table's headings.
        rows: The table's cells.
        note: What must be known before reading it.
    """

    title: str
    figure: go.Figure | None
    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


@dataclass(frozen=True)
class Section:
    """A section of the report.

    Attributes:
        key: Its anchor, and the first part of its figures' names.
        title: Its heading.
        intro: What it is about.
        reading: How to read it.
        caveat: What it does not show.
        views: What there is to choose from.
    """

    key: str
    title: str
    intro: str
    reading: str
    caveat: str
    views: Sequence[View] = field(default_factory=tuple)

    def name(self, view: View) -> str:
        """How the page refers to a view and its figure."""
        return f"{self.key}/{list(self.views).index(view)}"


def matched(
    everything: Mapping[str, Result], name: re.Pattern[str], kind: type[Any]
) -> list[tuple[re.Match[str], Any]]:
    """The results of a kind whose names match, fewer shots first."""
    found = [(name.fullmatch(key), result) for key, result in everything.items() if isinstance(result, kind)]
    pairs = [(match, result) for match, result in found if match]
    return sorted(pairs, key=lambda pair: int(pair[0]["shots"]))


def tables(
    everything: Mapping[str, Result], name: re.Pattern[str], columns: Iterable[str]
) -> list[tuple[re.Match[str], list[dict[str, Any]]]]:
    """The rows of the tables whose names match and that have any, fewer shots first.

    Raises:
        InputError: A table lacks one of the columns.
    """
    found = [(match, records(match[0], table, columns)) for match, table in matched(everything, name, Table)]
    return [(match, rows) for match, rows in found if rows]


def records(name: str, table: Result | None, columns: Iterable[str]) -> list[dict[str, Any]]:
    """The rows of a table; none where there is no table.

    Raises:
        InputError: It lacks one of the columns, or one holds text in place of numbers.
    """
    return checked(name, table.records(), columns) if isinstance(table, Table) else []


def of_kind(rows: Iterable[Mapping[str, Any]], kind: tuple[str, str | None]) -> list[Mapping[str, Any]]:
    """The rows of one kind of correlation."""
    return [row for row in rows if (row["variant"], row["within"]) == kind]


def at_shots(shots: str | int) -> str:
    """So many solved examples before each document: `0 shots`."""
    return f"{shots} shot{'' if str(shots) == '1' else 's'}"


def number(value: float | None) -> float:
    """What a table keeps as None where it was not measured is NaN to those who write it."""
    return float("nan") if value is None else value
