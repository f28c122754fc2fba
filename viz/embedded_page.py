"""A whole HTML page, shown at the end of a notebook cell or saved to a file; it needs no network."""

import os
from dataclasses import dataclass
from html import escape
from os import PathLike
from pathlib import Path

from headcount.results.internal import write_whole


@dataclass(frozen=True, repr=False)
class EmbeddedPage:
    """A view that is a whole HTML page, scripts and data included.

    JupyterLab, VS Code and a notebook saved as HTML show it in a separate frame, so that neither its scripts nor the
    tokens in it reach the notebook.

    Attributes:
        page: The page's source.
        title: A few words on its content.
        height: The height of its frame, in pixels.
    """

    page: str
    title: str
    height: int

    def save(self, path: str | PathLike[str]) -> Path:
        """Write the page to a file that opens anywhere.

        Args:
            path: The file; an existing one is replaced, and missing folders above it are created.

        Returns:
            The path of the file.

        Raises:
            InputError: The file cannot be written.
        """
        path = Path(os.path.expanduser(path))
        write_whole(path, self.page.encode())
        return path

    def write_html(self, path: str | PathLike[str]) -> None:
        """Write the page to a file, under plotly's name for it; see `save`."""
        self.save(path)

    def _repr_html_(self) -> str:
        return (
            f'<iframe title="{escape(self.title)}" sandbox="allow-scripts allow-downloads" width="100%" '
            f'height="{self.height}" style="border: 0; background: #ffffff" srcdoc="{escape(self.page)}"></iframe>'
        )

    def __repr__(self) -> str:
        return f"{self.title}; the last line of a notebook cell shows it, save(path) writes it to a file"
