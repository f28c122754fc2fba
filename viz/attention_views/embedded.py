"""A page of its own at the end of a notebook cell, or in a file: it needs no network and no other page."""

from dataclasses import dataclass
from html import escape
from os import PathLike
from pathlib import Path

from headcount.results.storage.files import write_whole


@dataclass(frozen=True, repr=False)
class Embedded:
    """Something to look at that is a whole HTML page, scripts and data included.

    JupyterLab, VS Code and a notebook saved as HTML show it in a frame of its own, so that neither the scripts nor the
    tokens in it reach the notebook.

    Attributes:
        page: The page.
        title: What it shows.
        height: Of its frame, in pixels.
    """

    page: str
    title: str
    height: int

    def save(self, path: str | PathLike[str]) -> Path:
        """Writes the page to a file that opens anywhere.

        Args:
            path: The file; an existing one is replaced, and missing folders above it are made.

        Returns:
            The path of the file.

        Raises:
            InputError: The file cannot be written.
        """
        write_whole(Path(path), self.page.encode())
        return Path(path)

    def _repr_html_(self) -> str:
        return (
            f'<iframe title="{escape(self.title)}" sandbox="allow-scripts allow-downloads" width="100%" '
            f'height="{self.height}" style="border: 0; background: #ffffff" srcdoc="{escape(self.page)}"></iframe>'
        )

    def __repr__(self) -> str:
        return f"{self.title}; the last line of a notebook cell shows it, save(path) writes it to a file"
