"""Prompts of the built-in tasks: word lists on which in-context learning itself is measured.

A row is a pair of words under an arrow, `France -> Paris`. Four continuations are scored: the right word, another
pair's right word, and two other pairs' left words. The arrow alone does not state the task, and a list of countries
continues with a country, so that without shots a model does no better than guessing; a few shots show the task.
Scoring choices, not the likeliest token, makes the task possible for small models whose words have several tokens, has
a chance level (1/4), and moves smoothly with the log-probability that gradients are taken of.
"""

import hashlib
from collections.abc import Sequence

from headcount.importance.documents import Prompt
from headcount.importance.rows.rows import Rows, content_hash
from headcount.importance.rows.schema import Row
from headcount.importance.rows.word_lists import FIELDS


class WordListPrompts:
    """Prompts of a word list.

    Args:
        rows: The list; wrong choices are taken from it.
    """

    def __init__(self, rows: Rows) -> None:
        self._rows = sorted([*rows.scored, *rows.pool], key=_key)

    def prompts(self, rows: Sequence[Row]) -> list[Prompt]:
        """Return the prompts of rows."""
        return [self._prompt(row) for row in rows]

    def _prompt(self, row: Row) -> Prompt:
        words = [row["output"], *(row.get("wrong") or self._wrong_words(row))]
        order = sorted(range(4), key=lambda choice: _hash(f"{_key(row)} {choice}"))
        context = f"{row['input']} ->"
        continuations = tuple(f" {words[choice]}" for choice in order)
        shot = f"{context} {row['output']}\n"
        return Prompt((context,) * 4, continuations, (order.index(0),), shot)

    def _wrong_words(self, row: Row) -> list[str]:
        """Return the right word of one other pair and the left words of two, none of them among this pair's."""
        taken = {row["input"], row["output"]}
        words: list[str] = []
        attempt = 0
        while len(words) < 3:
            other = self._rows[_hash(f"{_key(row)} other {attempt}") % len(self._rows)]
            word = other["output" if not words else "input"]
            attempt += 1
            if word not in taken:
                taken |= {other["input"], other["output"]}
                words.append(word)
        return words


def _key(row: Row) -> str:
    return content_hash(row, FIELDS)


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
