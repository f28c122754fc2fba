"""The figures that the functions of this room return: plotly's, with `save`, as every other view has it."""

import os
from os import PathLike
from pathlib import Path

import plotly.graph_objects as go

from headcount.results.internal import write_whole


class Figure(go.Figure):  # type: ignore[misc]  # plotly publishes no types
    """A plotly figure that saves itself as views of attention do."""

    def save(self, path: str | PathLike[str]) -> Path:
        """Write the figure into one HTML file that opens without a network.

        Args:
            path: The file; an existing one is replaced, and missing folders above it are created.

        Returns:
            The path of the file.

        Raises:
            InputError: The file cannot be written.
        """
        path = Path(os.path.expanduser(path))
        write_whole(path, self.to_html().encode())
        return path
