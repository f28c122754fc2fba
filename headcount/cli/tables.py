"""Tables in the terminal."""

from collections.abc import Mapping, Sequence
from math import isfinite, isnan
from typing import TYPE_CHECKING, Any

from rich import box
from rich import table as rich_table
from rich.console import Console
from rich.text import Text

if TYPE_CHECKING:
    from headcount.importance.internal import ListedTask

Rows = Sequence[Mapping[str, Any]]

WIDTH = 120
"""Columns of output that is not a terminal, which has no width of its own."""


def print_text(text: str) -> None:
    """Print a line as it is, without rich's markup and colours."""
    _console().print(text, markup=False, highlight=False)


def print_rows(rows: Rows, *, no_wrap: bool = False) -> None:
    """Print a table with a column for each key; text may wrap unless `no_wrap`, and numbers never do."""
    table = rich_table.Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column, value in rows[0].items() if rows else ():
        table.add_column(column.replace("_", " "), overflow="fold", no_wrap=no_wrap or not isinstance(value, str))
    for row in rows:
        # As plain text: a token such as "[/b]" is not rich's markup.
        table.add_row(*(Text(_cell(value)) for value in row.values()))
    _console().print(table)


def print_section(title: str, rows: Rows, top: int | None = None) -> None:
    """Print a title, and a table of the first rows, or of all of them."""
    print_text(title)
    if rows:
        print_rows(rows[:top])
    if top is not None and len(rows) > top:
        print_text(f"and {len(rows) - top} more rows: --json shows all")


def print_sections(sections: Mapping[str, Rows]) -> None:
    """Print titles, each with a table below."""
    for title, rows in sections.items():
        print_section(title, rows)


def print_tasks(tasks: Sequence["ListedTask"]) -> None:
    """Print tasks with the sources of their rows."""
    print_rows(
        [
            {
                "task": listed.task,
                "metric": listed.metric,
                "here": "yes" if listed.here else "no",
                "rows from": listed.source,
            }
            for listed in tasks
        ]
    )
    print_text("any other lm-eval task that is scored by likelihoods can be named, too")


def json_safe(value: Any) -> Any:
    """Return the same with null in place of NaN, for which JSON has no word."""
    if isinstance(value, dict):
        return {key: json_safe(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [json_safe(inner) for inner in value]
    return None if isinstance(value, float) and not isfinite(value) else value


def number_text(value: float) -> str:
    """Return a number with four decimals, or in scientific notation if it is tiny, as of gradients; NaN is `n/a`."""
    if isnan(value):
        return "n/a"
    if isinstance(value, int) or value.is_integer():
        return f"{value:,.0f}"
    return f"{value:.4f}" if abs(value) >= 0.01 else f"{value:.2e}"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return number_text(value) if type(value) in (int, float) else str(value)


def _console() -> Console:
    """The terminal; other output is not squeezed into the 80 columns of one."""
    console = Console()
    return console if console.is_terminal else Console(width=WIDTH)
