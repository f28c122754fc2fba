"""JSON as headcount reads and writes it: strict, and the same text for the same content."""

import json
from collections.abc import Sequence
from math import isfinite
from pathlib import Path
from typing import Any, NoReturn

from headcount.results.errors import InputError, damaged


def canonical(value: Any) -> str:
    """Return the JSON text of a value, whatever the order of its dicts.

    Raises:
        ValueError: A number in it is not finite.
    """
    return json.dumps(value, sort_keys=True, allow_nan=False)


def read_json(path: Path) -> dict[str, Any]:
    """Read a file that holds one JSON object.

    Raises:
        InputError: The file cannot be read, or holds something else.
    """
    try:
        return parse_json(path, path.read_bytes())
    except OSError as error:
        raise unreadable(path, error) from error


def parse_json(path: Path, text: str | bytes) -> dict[str, Any]:
    """Parse a JSON object strictly: NaN and infinities, which are not JSON, are refused.

    Args:
        path: The file that the text is from, for the error message.
        text: The text.

    Raises:
        InputError: The text is not a JSON object.
    """
    try:
        parsed = json.loads(text, parse_constant=_no_constant, parse_float=_finite, object_pairs_hook=unique_keys)
    except (ValueError, RecursionError) as error:
        raise damaged(path, f"it is not JSON ({error})") from error
    if not isinstance(parsed, dict):
        raise damaged(path, f"expected a JSON object, got {type(parsed).__name__}")
    return parsed


def unique_keys(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Return the dict of some pairs, as `object_pairs_hook` of `json.loads`: of two equal keys, one would be lost.

    Raises:
        ValueError: A key is there twice.
    """
    mapping = dict(pairs)
    if len(mapping) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)!r:.80} is there twice")
    return mapping


def unreadable(path: Path, error: OSError) -> InputError:
    """Return the error for a file that the system does not let be read."""
    return InputError(f"cannot read {path}: {error.strerror}; check its permissions")


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _finite(text: str) -> float:
    """Return a number; one such as 1e999, which Python reads as infinity, is refused like infinity's name."""
    if not isfinite(number := float(text)):
        _no_constant(text)
    return number
