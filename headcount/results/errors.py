"""The one error that a person, rather than a programmer, is meant to read."""

from __future__ import annotations

from headcount.travel import travels


@travels
class InputError(ValueError):
    """Something a person gave is wrong: a file, a folder, a name, a shape.

    The message is a single line that says what was expected, what came and what to do about it. The command line prints
    it and exits with status 2; in a notebook it is an ordinary `ValueError`.

    Args:
        message: The sentence. Line breaks, which may arrive with a quoted name, become spaces.
    """

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.splitlines()))
