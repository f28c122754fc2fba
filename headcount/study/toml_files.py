"""TOML files that a person wrote: read whole, whatever is wrong with them said in one line."""

import os
import tomllib
from pathlib import Path
from typing import Any

from headcount.results import InputError

MOST = 100_000
"""Bytes, many times what a study of all tasks takes: a key of a hundred thousand parts would be parsed for minutes."""


def read(path: Path) -> str:
    """The text of a TOML file.

    Raises:
        InputError: There is no such file, it is something else, too large, or not UTF-8.
    """
    try:
        if not os.path.isfile(path) and os.path.exists(path):
            raise OSError("it is no file")  # a pipe that nobody writes to would be waited for
        with open(path, "rb") as file:
            data = file.read(MOST + 1)
        if len(data) > MOST:
            raise OSError(f"it is larger than {MOST:,} bytes")
        return data.decode("utf-8-sig")
    except (OSError, ValueError) as error:
        raise InputError(f"expected a TOML file, but {str(path)!r} cannot be read ({error})") from error


def parse(text: str, source: str) -> dict[str, Any]:
    """What a TOML file says.

    Raises:
        InputError: It is no TOML, or nested too deeply, or a number has thousands of digits.
    """
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{source}: {error}") from error
