"""Progress for a person at a terminal; silence for a program."""

import sys
import warnings
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar


class Progress:
    """A bar on standard error, shown only if that is a terminal.

    Args:
        steps: The number of steps that it counts; None if that is not known yet.
    """

    def __init__(self, steps: int | None) -> None:
        console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._bar = Bar(*columns, console=console, disable=not console.is_terminal or steps == 0, transient=True)
        self._task = self._bar.add_task("", total=steps)

    def __enter__(self) -> "Progress":
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._bar.disable:  # else rich before 15 leaves an empty line
            self._bar.stop()

    def expect(self, steps: int) -> None:
        """Set the number of steps."""
        self._bar.update(self._task, total=steps)

    def title(self, text: str) -> None:
        """Show the name of the current work."""
        self._bar.update(self._task, description=text)

    def advance(self, steps: int) -> None:
        """Count some more steps as done."""
        self._bar.advance(self._task, steps)


def say(text: str) -> None:
    """Write one line to standard error, whether or not it is a terminal."""
    print(f"headcount: {text}", file=sys.stderr)


def say_warnings() -> None:
    """Write each warning from now on as one line, like all other messages."""
    warnings.showwarning = lambda message, *_args, **_kwargs: say(f"note: {message}")
