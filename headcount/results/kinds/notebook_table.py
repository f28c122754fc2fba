"""How results show themselves at the end of a notebook cell: as a small table, of scores the highest few."""

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headcount.results.kinds.scores import Scores

ROWS = 5


def heading(scores: "Scores") -> str:
    """What was measured, how and how often: `prefix_matching (successor), n = 100`."""
    definition = f" ({scores.definition})" if scores.definition else ""
    return f"{scores.measure or 'scores'}{definition}, n = {scores.n}"


def html_table(scores: "Scores") -> str:
    """The highest scores as an HTML table.

    Args:
        scores: Scores of heads or layers. Their names are escaped: they may come from a file of unknown origin.

    Returns:
        A `<table>` of up to five rows with name, value and, where it is known, standard error.
    """
    stderr = scores.stderr
    columns = [scores.axes[-1], "value"] if stderr is None else [scores.axes[-1], "value", "standard error"]
    rows = []
    for *position, value in scores.top(ROWS):
        cells = [scores.label(*position), f"{value:.4f}"]
        rows.append(cells if stderr is None else [*cells, f"{stderr[tuple(position)].item():.4f}"])
    caption = f"{heading(scores)}: the highest {len(rows)} of {scores.values.numel()}"
    return table(caption, columns, rows)


def table(caption: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """An HTML table of text, all of it escaped."""
    head = "".join(f'<th scope="col">{escape(column)}</th>' for column in columns)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
