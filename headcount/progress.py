"""Progress for a person at a terminal; silence for a program."""

import sys
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar


class Progress:
    """A bar on standard error, shown only where that is a terminal."""

    def __init__(self, steps: int) -> None:
        console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._bar = Bar(*columns, console=console, disable=not console.is_terminal or not steps, transient=True)
        self._task = self._bar.add_task("", total=steps)

    def __enter__(self) -> "Progress":
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def title(self, text: str) -> None:
        """Say what is being done."""
        self._bar.update(self._task, description=text)

    def advance(self, steps: int) -> None:
        """So many steps are done."""
        self._bar.advance(self._task, steps)


def say(text: str) -> None:
    """One line on standard error, whether or not it is a terminal."""
    print(f"headcount: {text}", file=sys.stderr)
