"""Which rows a document is shown as solved examples."""

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence

from headcount.importance.rows.rows import content
from headcount.importance.rows.schema import Row
from headcount.results import InputError


class Shots:
    """A pool of rows to draw shots from.

    What a document draws depends on the seed and on what the document says, and on nothing else: neither on its place
    among the documents nor on the order of the pool. It never draws itself, a twin of itself or another answer to its
    own question.

    Args:
        rows: The pool; of twins one is kept.
        fields: The fields that make up what a row says.
        question: The question that a row is an answer to, None where rows stand for themselves.
    """

    def __init__(self, rows: Sequence[Row], fields: Sequence[str], question: Callable[[Row], str | None]) -> None:
        self._fields, self._question = fields, question
        distinct = {content(row, fields): row for row in reversed(rows)}
        self._keys = sorted(distinct)
        self._rows = [distinct[key] for key in self._keys]
        self._questions = [question(row) for row in self._rows]
        self._answers = Counter(self._questions)
        self._known = set(self._keys)

    def draw(self, document: Row, count: int, seed: int) -> list[Row]:
        """Draw `count` rows for a document, all different.

        Raises:
            InputError: The pool has fewer rows that may be shown.
        """
        key, question = content(document, self._fields), self._question(document)
        left = len(self._rows) - self._barred(key, question)
        if count > left:
            raise InputError(f"expected {count} or more rows to draw shots from, got {left}: ask for fewer shots")
        drawn: dict[str, Row] = {}
        attempt = 0
        while len(drawn) < count:
            place = _number(f"{seed} {key} {attempt}") % len(self._rows)
            attempt += 1
            own = self._keys[place] == key or (question is not None and self._questions[place] == question)
            if not own:
                drawn.setdefault(self._keys[place], self._rows[place])
        return list(drawn.values())

    def _barred(self, key: str, question: str | None) -> int:
        """How many rows of the pool this document must not be shown."""
        if question is None:
            return int(key in self._known)
        answers = self._answers[question]
        twin = key in self._known and self._questions[self._keys.index(key)] != question
        return answers + int(twin)


def _number(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
