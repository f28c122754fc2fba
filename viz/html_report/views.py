"""Sections of the report that show one of several views at a time, each a figure and a table."""

from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go


@dataclass(frozen=True, eq=False)
class View:
    """A figure and its table, one of several in a section.

    Attributes:
        title: Its title in the list to choose from.
        figure: Its figure; None in all views of a section that has tables only.
        caption: The caption of its table.
        columns: The table's headings.
        rows: The table's cells.
        note: A warning above the table.
    """

    title: str
    figure: go.Figure | None
    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


@dataclass(frozen=True)
class Section:
    """A section of the report with views to choose from.

    Attributes:
        key: Its anchor, and the first part of its figures' names.
        title: Its heading.
        intro: Its topic.
        reading: A guide to reading its figures and tables.
        caveat: The conclusion that it does not support.
        views: The views to choose from.
        opening: The index of the view that is shown first: that of the task furthest above chance.
    """

    key: str
    title: str
    intro: str
    reading: str
    caveat: str
    views: Sequence[View] = ()
    opening: int = 0

    def name(self, view: View) -> str:
        """Return the name of a view and its figure in the page."""
        return f"{self.key}/{list(self.views).index(view)}"
