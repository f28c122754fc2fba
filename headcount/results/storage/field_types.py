"""Checks that the fields of a result are what their annotations say."""

import re
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from headcount.results.errors import InputError

Test = Callable[[Any], bool]

SHOWN = 80  # characters of a value in a message
BOUND = 2**63  # whole numbers are below it: tables and tensors hold none beyond
SURROGATE = re.compile("[\ud800-\udfff]")  # half a character, which can be neither printed nor written


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and not SURROGATE.search(value)


def is_whole(value: Any) -> bool:
    """Return True for a whole number below 2^63 in magnitude that is no truth value."""
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < BOUND


LEAVES: Mapping[Any, tuple[str, Test]] = {
    str: ("text", _is_text),
    int: ("a whole number below 2^63", is_whole),
    float: ("a real number", lambda value: isinstance(value, float) or is_whole(value)),
    bool: ("a truth value", lambda value: isinstance(value, bool)),
    NoneType: ("None", lambda value: value is None),
}
"""For each simple type its name in messages, and the test that its values pass."""


def check_fields(result: Any) -> None:
    """Compare every field of a dataclass with its annotation.

    Texts are strings of whole characters; whole numbers are `int`, no truth values and below 2^63 in magnitude; real
    numbers are those or `float`, NaN and infinities included; tuples may still be lists; dicts and other dataclasses
    are instances of their classes. Tensors, which come in many forms, and `dict[str, Any]` are left to
    `headcount.results.storage.checks`.

    Raises:
        InputError: A field, or something in it, is anything else; the message names it.
    """
    for name, kind in field_annotations(result.__class__).items():
        check_field(name, getattr(result, name), kind)


def check_field(name: str, value: Any, kind: Any) -> None:
    """Compare one value with an annotation, as `check_fields` does.

    Raises:
        InputError: It is anything else.
    """
    if not fits(value, kind):
        raise InputError(f"{name}: expected {_in_words(kind)}, got {shown(value)}")


def fits(value: Any, kind: Any) -> bool:
    """Return True if a value is what an annotation says, in the sense of `check_fields`."""
    return _test(kind)(value)


def field_annotations(kind: Any) -> Mapping[str, Any]:
    """Return the annotation of each field of a dataclass, by its name."""
    return _annotations(kind)


def shown(value: Any) -> str:
    """Return the beginning of a value for an error message, in one line."""
    try:
        text = " ".join(repr(value).split())
    except ValueError:  # Python writes no integer of more than 4300 digits
        text = f"{type(value).__name__} with a very large number"
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


@cache
def _annotations(kind: Any) -> Mapping[str, Any]:
    hints = get_type_hints(kind)  # the source may hold annotations as text
    return {item.name: hints[item.name] for item in fields(kind)}


@cache
def _test(kind: Any) -> Test:
    """Return the test that values of an annotation pass; built once, since tables have many cells."""
    if kind in LEAVES:
        return LEAVES[kind][1]
    origin, parts = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        options = [_test(part) for part in parts]
        return lambda value: any(test(value) for test in options)
    if origin is tuple:
        return _list_test([_test(part) for part in parts if part is not Ellipsis], Ellipsis in parts)
    if origin in (dict, Mapping) and Any not in parts:
        key, inner = map(_test, parts)
        return lambda value: isinstance(value, Mapping) and all(map(key, value)) and all(map(inner, value.values()))
    if isinstance(kind, type) and is_dataclass(kind):
        return lambda value: isinstance(value, kind)
    return lambda value: True


def _list_test(tests: list[Test], of_any_length: bool) -> Test:
    """Return the test that a list or tuple passes: one test for each entry, or the same for all."""
    if of_any_length:
        return lambda value: isinstance(value, list | tuple) and all(map(tests[0], value))
    return lambda value: (
        isinstance(value, list | tuple)
        and len(value) == len(tests)
        and all(test(entry) for test, entry in zip(tests, value, strict=True))
    )


def _in_words(kind: Any) -> str:
    """Return an annotation in words."""
    if kind in LEAVES:
        return LEAVES[kind][0]
    origin, parts = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return " or ".join(map(_in_words, parts))
    if origin is tuple:
        return f"a list of ({', '.join(map(_in_words, parts))})"
    if origin in (dict, Mapping):
        return f"a dict of ({_in_words(parts[0])}: {_in_words(parts[1])})"
    return "..." if kind is Ellipsis else str(kind.__name__)
