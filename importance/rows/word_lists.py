"""The pairs of words of the built-in tasks, which come with the package."""

import hashlib
from importlib.resources import files

from headcount.importance.rows.rows import HALVES, Rows, halves
from headcount.importance.rows.schema import Kind, Row

FIELDS: dict[str, Kind] = {"input": "text", "output": "text"}


def read_word_list(name: str) -> Rows:
    """Read a list's pairs, split in two: one half scored, the other to draw shots and examples from."""
    path = files("headcount.importance").joinpath("words", f"{name}.tsv")
    text = path.read_text(encoding="utf-8")
    rows = [_row(line) for line in text.splitlines()]
    scored, pool = halves(rows, FIELDS)
    source = {
        "source": "built in",
        "file": f"importance/words/{name}.tsv",
        "sha256": hashlib.sha256(text.encode()).hexdigest(),
        "rows": len(rows),
        "scored": f"{len(scored)} rows",
        "pool": f"{len(pool)} rows",
        "split": HALVES,
    }
    return Rows(scored, pool, source)


def _row(line: str) -> Row:
    """Return a pair, with its wrong choices where the list names them."""
    left, right, *wrong = line.split("\t")
    return {"input": left, "output": right, **({"wrong": wrong} if wrong else {})}
