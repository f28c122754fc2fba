"""Shots: the rows that stand as solved examples in front of a document."""

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence

from headcount.importance.rows.rows import content_hash
from headcount.importance.rows.schema import Row
from headcount.results import InputError


class ShotPool:
    """A pool of rows to draw shots from.

    A document's shots depend on the seed and on the document's content, and on nothing else: neither on its place among
    the documents nor on the order of the pool. They are never the document itself, a duplicate of it or another answer
    to its question.

    Args:
        rows: The pool; duplicates count once.
        fields: The fields of a row's content.
        question: Returns the question that a row is an answer to; None where rows stand for themselves.
    """

    def __init__(self, rows: Sequence[Row], fields: Sequence[str], question: Callable[[Row], str | None]) -> None:
        self._fields, self._question = fields, question
        distinct = {content_hash(row, fields): row for row in reversed(rows)}
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
        key, question = content_hash(document, self._fields), self._question(document)
        available = len(self._rows) - self._excluded(key, question)
        if count > available:
            raise InputError(f"expected {count} or more rows to draw shots from, got {available}: pass fewer shots")
        drawn: dict[str, Row] = {}
        attempt = 0
        while len(drawn) < count:
            place = _number(f"{seed} {key} {attempt}") % len(self._rows)
            attempt += 1
            same = self._keys[place] == key or (question is not None and self._questions[place] == question)
            if not same:
                drawn.setdefault(self._keys[place], self._rows[place])
        return list(drawn.values())

    def _excluded(self, key: str, question: str | None) -> int:
        """Return the number of rows of the pool that must not be shots of this document."""
        if question is None:
            return int(key in self._known)
        answers = self._answers[question]
        duplicate = key in self._known and self._questions[self._keys.index(key)] != question
        return answers + int(duplicate)


def _number(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
