"""The layout of a head's card: the positions of its parts, their headings and axes."""

from typing import Any, NamedTuple

from headcount.results import HeadProfile
from headcount.viz.style.literal_text import token

CELL, EXTENT_MIN, EXTENT_MAX = 16, 340, 640  # of the attention map, in pixels
LABEL = 13  # the smallest height of one token's label on an axis
SIDE = 380  # the width of the two figures beside the map
EDGE, BETWEEN, GAP = 16, 120, 60
LETTER = 6.2  # the mean width of a small letter
ROW, ROWS_MAX = 30, 20  # the height of a table's row, and the rows that are visible without scrolling
SHORT = 14  # characters of a token on an axis or in the table


class Frame(NamedTuple):
    """The positions of the card's parts, in pixels.

    Attributes:
        extent: Width and height of the attention map.
        top: Height of the title above the map.
        table: Height of the table.
        labels: Width of the token labels beside the map, and their height below it.
    """

    extent: int
    top: int
    table: int
    labels: int

    @classmethod
    def of(cls, profile: HeadProfile, n_lines: int) -> "Frame":
        """Return the frame of a head's card whose title has so many lines of text below it."""
        extent = min(max(CELL * len(profile.tokens), EXTENT_MIN), EXTENT_MAX)
        rows = min(len(profile.sources), ROWS_MAX) + 1
        labels = 16 + int(LETTER * min(max(map(len, profile.tokens)), SHORT))
        return cls(extent, 72 + 18 * n_lines, ROW * rows + EDGE, labels)

    @property
    def width(self) -> int:
        """Width of the whole card."""
        return self.beside + SIDE + EDGE

    @property
    def height(self) -> int:
        """Height of the whole card."""
        return self.top + self.below + self.table + EDGE

    @property
    def left(self) -> int:
        """Left edge of the map."""
        return EDGE + self.labels

    @property
    def beside(self) -> int:
        """Left edge of the figures beside the map."""
        return self.left + self.extent + BETWEEN

    @property
    def below(self) -> int:
        """Top edge of the table, from the top of the map."""
        return self.extent + self.labels + GAP

    def across(self, start: int, end: int) -> list[float]:
        """Return the domain between two distances from the left."""
        return [(x - EDGE) / (self.width - 2 * EDGE) for x in (start, end)]

    def down(self, start: int, end: int) -> list[float]:
        """Return the domain between two distances from the top of the map."""
        return [1 - y / (self.height - self.top - EDGE) for y in (end, start)]


def headings(profile: HeadProfile, frame: Frame) -> list[dict[str, Any]]:
    """Return the heading of each part, above its upper left corner."""
    half = frame.extent // 2
    texts = [
        ("Attention from each token (down) to those before it (across)", frame.left, 0),
        ("Mean attention by distance, first token set apart", frame.beside, 0),
        ("Entropy of attention: 1 is even over all tokens", frame.beside, half + 40),
        (
            "What the head would write if it attended to one token alone, on the embeddings: logits above their mean "
            f"over the vocabulary ({len(profile.sources)} distinct tokens)",
            EDGE,
            frame.below,
        ),
    ]
    return [
        {
            "text": text, "x": frame.across(x, x)[0], "y": frame.down(y, y)[0], "xref": "paper", "yref": "paper",
            "xanchor": "left", "yanchor": "bottom", "showarrow": False, "font": {"size": 12},
        }
        for text, x, y in texts
    ]  # fmt: skip


def axes(profile: HeadProfile, frame: Frame) -> dict[str, Any]:
    """Return the axes of map, distances and entropy; the map's have as many token names as fit."""
    length, half = len(profile.tokens), frame.extent // 2
    step = -(-LABEL * length // frame.extent)
    positions = list(range(0, length, step))
    tokens = {
        "tickvals": positions,
        "ticktext": [token(profile.tokens[position], SHORT) for position in positions],
        "tickfont": {"size": 10},
        "showgrid": False,
        "range": [-0.5, length - 0.5],
    }
    map_, side = frame.across(frame.left, frame.left + frame.extent), frame.across(frame.beside, frame.beside + SIDE)
    return {
        "xaxis": tokens | {"domain": map_, "tickangle": -90, "anchor": "y"},
        "yaxis": tokens | {"domain": frame.down(0, frame.extent), "range": [length - 0.5, -0.5], "anchor": "x"},
        "xaxis2": {"domain": side, "anchor": "y2", "title": _small("tokens back"), "showgrid": False,
                   "range": [-0.6, max(length - 1.4, 0.6)]},
        "yaxis2": {"domain": frame.down(0, half - 40), "anchor": "x2", "rangemode": "tozero", "nticks": 5},
        "xaxis3": {"domain": side, "anchor": "y3", "title": _small("position"), "showgrid": False,
                   "range": [-0.6, length - 0.4]},
        "yaxis3": {"domain": frame.down(half + 40, frame.extent), "anchor": "x3", "range": [0, 1.02], "nticks": 5},
    }  # fmt: skip


def _small(title: str) -> dict[str, Any]:
    return {"text": title, "font": {"size": 12}, "standoff": 4}
