"""The errors whose messages people read: bad input, and a damaged file."""

from __future__ import annotations

from pathlib import Path

from headcount.remote_code import runs_remotely


@runs_remotely
class InputError(ValueError):
    """Bad input: a file, a folder, a name or a shape that cannot be used.

    The message is a single line that states what was expected, what came and what to do about it. The command line
    prints it and exits with status 2; in a notebook it is an ordinary `ValueError`.

    Args:
        message: The line. Line breaks, which may come with a quoted name, become spaces.
    """

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.splitlines()))


class DamagedError(InputError):
    """A file whose content is not what headcount once wrote."""


def damaged(path: Path, reason: str) -> DamagedError:
    """Return the error for a file that is damaged, or was never written by headcount."""
    return DamagedError(f"{path} is damaged or was not written by headcount: {reason}; remove it and measure again")
