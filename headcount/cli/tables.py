"""Tables in the terminal."""

from collections.abc import Mapping, Sequence
from math import isfinite, isnan
from typing import TYPE_CHECKING, Any

from rich import box
from rich import table as rich_table
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from headcount.results.internal import error_text, shown_error

if TYPE_CHECKING:
    from headcount.importance.internal import ListedTask

Rows = Sequence[Mapping[str, Any]]

ENDLESS = 100_000
"""Columns of output that is not a terminal: a file or another program takes lines of any length."""

GAP = 3
"""Places between two columns of a table."""

EDGES = 2
"""Places at the edges of a table."""

LABEL_MIN = 12
"""Columns that a label has at least: longer ones go on in the next line."""

LABEL_MAX = 36
"""Columns that a label may take where a table has to be split."""


def print_text(text: str) -> None:
    """Print a line as it is, without rich's markup and colours."""
    _console().print(text, markup=False, highlight=False)


def print_rows(rows: Rows, *, no_wrap: bool = False) -> None:
    """Print a table with a column for each key; text may wrap unless `no_wrap`, and numbers never do.

    A table that is too wide for the terminal is split into several, each with all columns of text and some of numbers.
    """
    if not rows:
        return
    console = _console()
    columns = list(dict.fromkeys(column for row in rows for column in row))
    cells = [{column: _cell(column, row.get(column), row) for column in columns} for row in rows]
    widths = {column: max(cell_len(_heading(column)), *(cell_len(row[column]) for row in cells)) for column in columns}
    labels = [column for column in columns if any(isinstance(row.get(column), str) for row in rows)]
    numbers = [column for column in columns if column not in labels]
    fits = sum(widths.values()) + GAP * (len(widths) - 1) + EDGES <= console.width
    label_width = sum(min(widths[label], LABEL_MAX) + GAP for label in labels) - GAP + EDGES
    for some in [numbers] if fits or not numbers else _parts(numbers, widths, console.width - label_width):
        shown = [column for column in columns if column in labels or column in some]
        table = rich_table.Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for column in shown:
            least = min(widths[column], LABEL_MIN) if column in labels and not no_wrap else widths[column]
            keep = no_wrap or column not in labels
            table.add_column(_heading(column), overflow="fold", no_wrap=keep, min_width=least)
        for row in cells:
            # As plain text: a token such as "[/b]" is not rich's markup.
            table.add_row(*(Text(row[column]) for column in shown))
        console.print(table, crop=False)


def _heading(column: str) -> str:
    return column.replace("_", " ")


def _parts(columns: Sequence[str], widths: Mapping[str, int], width: int) -> list[list[str]]:
    """Divide columns into groups that fit a width, one column at least in each."""
    parts: list[list[str]] = [[]]
    left = width
    for column in columns:
        needed = widths[column] + GAP
        if parts[-1] and needed > left:
            parts.append([])
            left = width
        parts[-1].append(column)
        left -= needed
    return parts


def print_section(title: str, rows: Rows, top: int | None = None) -> None:
    """Print a title, and a table of the first rows, or of all of them."""
    print_text(title)
    if rows:
        print_rows(rows[:top])
    if top is not None and len(rows) > top:
        print_text(f"and {len(rows) - top} more rows: --json or --top shows more")


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


def _cell(column: str, value: Any, row: Mapping[str, Any]) -> str:
    if value is None:
        return ""
    if column.endswith("stderr"):
        return error_text(shown_error(value, row.get("n") or 3))
    return number_text(value) if type(value) in (int, float) else str(value)


def _console() -> Console:
    """The terminal; other output is not squeezed into the 80 columns of one."""
    console = Console()
    return console if console.is_terminal else Console(width=ENDLESS)
