"""TOML files written by a person: read whole, with every error in one line."""

import os
import tomllib
from pathlib import Path
from typing import Any

from headcount.results import InputError

MAX_BYTES = 100_000
"""Many times the size of a study of all tasks: parsing a key of a hundred thousand parts would take minutes."""


def read_toml_text(path: Path) -> str:
    """Return the text of a TOML file.

    Raises:
        InputError: There is no such file, or it is no regular file, too large, or not UTF-8.
    """
    try:
        if not os.path.isfile(path) and os.path.exists(path):
            raise OSError("it is not a file")  # reading a pipe without a writer would wait for ever
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise OSError(f"it is larger than {MAX_BYTES:,} bytes")
        return data.decode("utf-8-sig")
    except (OSError, ValueError) as error:
        raise InputError(f"expected a TOML file, but {str(path)!r} cannot be read ({error})") from error


def parse_toml(text: str, source: str) -> dict[str, Any]:
    """Return the content of a TOML text.

    Raises:
        InputError: It is not TOML, or nested too deeply, or a number has thousands of digits; the message names
            `source`.
    """
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{source}: {error}") from error
