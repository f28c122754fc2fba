"""Colours and styles of figures and of the report, one set for light and one for dark.

Scores use viridis, whose lightness rises evenly; signed scores use blue and orange, which differ for every common form
of colour blindness. No meaning depends on telling red from green.
"""

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from types import MappingProxyType
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from headcount.results import InputError
from headcount.viz.style.literal_text import literal

FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif'
SEQUENTIAL = "Viridis"
# Several curves in one figure: after Okabe and Ito's colours, which differ for every common form of colour blindness;
# each has a contrast of at least 3 : 1 with the backgrounds of both themes.
SERIES = ("#0076b8", "#d55e00", "#009e73", "#c1619a", "#9a7d0a", "#3a93c9")
NEUTRAL = "#808891"  # a control beside them, with the same contrast
SYMBOLS = (
    "circle",
    "square",
    "diamond",
    "triangle-up",
    "triangle-down",
    "x",
)  # so that curves that coincide can be counted
LINE, CHARACTER = 20, 8  # the height of a title's line and the width of its letters, in pixels
TOP = 12  # the smallest margin above a figure, in pixels

ColourScale = tuple[tuple[float, str], ...]


@dataclass(frozen=True)
class Theme:
    """The colours of one scheme, as CSS writes them.

    Attributes:
        background: The background of the page.
        surface: The background of tables' headings, notes and cells without a value.
        ink: Text.
        muted: Less important text; its contrast with background and surface is at least 4.5 : 1, as is that of
            `accent`.
        line: Rules and borders.
        accent: Links, focus and single curves.
        diverging: The colour scale of signed scores, blue below zero and orange above.
    """

    background: str
    surface: str
    ink: str
    muted: str
    line: str
    accent: str
    diverging: ColourScale


LIGHT = Theme(
    background="#ffffff",
    surface="#f3f4f6",
    ink="#1b1f24",
    muted="#59616b",
    line="#d5d9de",
    accent="#0b62a8",
    diverging=((0, "#124a86"), (0.25, "#5f9bd1"), (0.5, "#f4f3ef"), (0.75, "#ee9f4c"), (1, "#a24a00")),
)
DARK = Theme(
    background="#14171b",
    surface="#20252b",
    ink="#e7e9ec",
    muted="#a3abb5",
    line="#3a414a",
    accent="#6cb8f5",
    diverging=((0, "#8cc4ff"), (0.25, "#3f7fc0"), (0.5, "#262a30"), (0.75, "#bd6a1c"), (1, "#ffb463")),
)
THEMES: Mapping[str, Theme] = MappingProxyType({"light": LIGHT, "dark": DARK})


def theme_of(name: str) -> Theme:
    """Return the theme with a name.

    Args:
        name: `"light"` or `"dark"`.

    Raises:
        InputError: There is no theme of that name.
    """
    if name not in THEMES:
        raise InputError(f"theme: expected one of {', '.join(THEMES)}, got {name!r}")
    return THEMES[name]


def css_colours(theme: Theme) -> dict[str, str]:
    """Return the single colours of a theme by name, for the report's style sheet."""
    return {item.name: getattr(theme, item.name) for item in fields(theme) if item.name != "diverging"}


@cache  # building a template takes longer than drawing a curve
def template(theme: Theme) -> go.layout.Template:
    """Return the plotly template with a theme's colours and no content."""
    axis = {
        "gridcolor": theme.line,
        "linecolor": theme.line,
        "tickcolor": theme.line,
        "zeroline": False,
        "zerolinecolor": theme.muted,
        "title": {"font": {"color": theme.muted}},
    }
    return go.layout.Template(
        layout={
            "font": {"family": FONT, "size": 12, "color": theme.ink},
            "title": {"font": {"size": 15}, "x": 0, "xref": "container", "xanchor": "left", "pad": {"l": 12}},
            "paper_bgcolor": theme.background,
            "plot_bgcolor": theme.surface,
            "colorway": [theme.accent],
            "colorscale": {"diverging": [list(stop) for stop in theme.diverging]},
            "annotationdefaults": {"font": {"size": 11, "color": theme.muted}},
            "shapedefaults": {"line": {"color": theme.muted}},
            "hoverlabel": {
                "align": "left",
                "bgcolor": theme.surface,
                "bordercolor": theme.line,
                "font": {"size": 12, "color": theme.ink},
            },
            "modebar": {
                "orientation": "v",
                "bgcolor": "rgba(0,0,0,0)",
                "color": theme.muted,
                "activecolor": theme.accent,
                "remove": ["sendChartToCloud"],  # no figure is uploaded
            },
            "xaxis": axis,
            "yaxis": axis,
        }
    )


def title_layout(text: str, width: int) -> tuple[dict[str, Any], int]:
    """Return the layout of a title, broken to fit the figure's width, and the margin that it needs above, in pixels."""
    lines = textwrap.wrap(text, width // CHARACTER)
    pad = 4 if len(lines) < 2 else 16  # plotly places several lines higher than one, and would cut the first
    text = "<br>".join(map(literal, lines))
    layout = {"text": text, "y": 1, "yref": "container", "yanchor": "top", "pad": {"t": pad}}
    return layout, TOP + LINE * len(lines)


def crosses(x: NDArray[np.int64], y: NDArray[np.generic], theme: Theme) -> list[dict[str, Any]]:
    """Return one trace with a cross where there is no finite score, or no trace; the crosses have no hover text."""
    marker = {"symbol": "x-thin", "size": 6, "line": {"width": 1, "color": theme.muted}}
    style = {"mode": "markers", "marker": marker, "hoverinfo": "skip", "showlegend": False}
    return [{"type": "scatter", "x": x, "y": y, **style}] if len(x) else []
