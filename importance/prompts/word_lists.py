"""The built-in tasks: word lists on which in-context learning itself is measured.

A row is a pair of words under an arrow, `France -> Paris`. Four continuations are scored: the right word, another
pair's right word, and two other pairs' left words. The arrow alone does not say what to do, and a list of countries
goes on with a country, so that without shots a model does no better than guessing; a few shots show what is asked.
Scoring choices, not the likeliest token, keeps the task within reach of small models whose words have several tokens,
gives a chance level (1/4), and moves smoothly with the log-probability that gradients are taken of.
"""

import hashlib
from collections.abc import Sequence
from importlib.resources import files

from headcount.importance.documents import Prompt
from headcount.importance.rows.rows import HALVES, Rows, content, halves
from headcount.importance.rows.schema import Kind, Row

FIELDS: dict[str, Kind] = {"input": "text", "output": "text"}


def read_list(name: str) -> Rows:
    """A list's pairs, split in two: one half scored, the other to draw shots and examples from."""
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


class Lists:
    """Prompts of a list.

    Args:
        rows: The list; wrong choices are taken from it.
    """

    def __init__(self, rows: Rows) -> None:
        self._rows = sorted([*rows.scored, *rows.pool], key=_key)

    def prompts(self, rows: Sequence[Row]) -> list[Prompt]:
        """The prompts of rows."""
        return [self._prompt(row) for row in rows]

    def _prompt(self, row: Row) -> Prompt:
        words = [row["output"], *(row.get("others") or self._others(row))]
        order = sorted(range(4), key=lambda choice: _hash(f"{_key(row)} {choice}"))
        context = f"{row['input']} ->"
        continuations = tuple(f" {words[choice]}" for choice in order)
        shot = f"{context} {row['output']}\n"
        return Prompt((context,) * 4, continuations, (order.index(0),), shot)

    def _others(self, row: Row) -> list[str]:
        """The right word of one other pair and the left words of two, none of them among this pair's."""
        taken = {row["input"], row["output"]}
        found: list[str] = []
        attempt = 0
        while len(found) < 3:
            other = self._rows[_hash(f"{_key(row)} other {attempt}") % len(self._rows)]
            word = other["output" if not found else "input"]
            attempt += 1
            if word not in taken:
                taken |= {other["input"], other["output"]}
                found.append(word)
        return found


def _row(line: str) -> Row:
    left, right, *others = line.split("\t")
    return {"input": left, "output": right, **({"others": others} if others else {})}


def _key(row: Row) -> str:
    return content(row, FIELDS)


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
