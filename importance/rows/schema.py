"""Checks of rows: each has the fields that its task reads, of the right kind."""

from collections.abc import Callable
from typing import Any, Literal

from headcount.results import InputError

Row = dict[str, Any]
Kind = Literal["text", "string", "texts", "label", "index", "options", "question"]


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _are_texts(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(map(_is_text, value))


def _is_index(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _are_options(value: object) -> bool:
    if not isinstance(value, dict) or not _are_texts(value.get("text")) or not _are_texts(value.get("label")):
        return False
    return len(value["text"]) == len(value["label"])


def _is_question(value: object) -> bool:
    return isinstance(value, dict) and _is_index(value.get("paragraph")) and _is_index(value.get("question"))


KINDS: dict[Kind, tuple[Callable[[object], bool], str]] = {
    "text": (_is_text, "text that is not blank"),
    "string": (lambda value: isinstance(value, str), "text"),
    "texts": (_are_texts, "a list of texts, none blank"),
    "label": (_is_index, "a class number, 0 or more"),
    "index": (_is_index, "a whole number, 0 or more"),
    "options": (_are_options, '{"text": [..], "label": [..]}, as many labels as texts'),
    "question": (_is_question, '{"paragraph": number, "question": number}'),
}


def check_row(row: object, fields: dict[str, Kind], place: str) -> Row:
    """Return the row if it has every field that its task reads.

    Args:
        row: A row, as it was read.
        fields: The kind of each field.
        place: The row's place, for the error.

    Raises:
        InputError: A field is missing or holds something else.
    """
    if not isinstance(row, dict):
        raise InputError(f"{place}: expected a JSON object with {', '.join(fields)}, got {_short(row)}")
    for name, kind in fields.items():
        is_kind, expected = KINDS[kind]
        if name not in row:
            raise InputError(f"{place}: expected the fields {', '.join(fields)}, got a row without {name!r}")
        if not is_kind(row[name]):
            raise InputError(f"{place}: expected {name!r} to be {expected}, got {_short(row[name])}")
    return row


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
