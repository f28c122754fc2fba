"""A map of scores as a drawing that needs no script: for pages that show pictures and run nothing."""

from math import isnan
from xml.sax.saxutils import escape

from headcount.results import HeadScores

CELL, MARGIN = 12, 46
"""Pixels of a head, and of the space for the axes."""
LIGHT, DARK, MISSING = (247, 247, 250), (49, 46, 129), "#d9d9d9"
"""The colours of 0 and of the highest score, and of a score that is not a number."""


def score_map_svg(scores: HeadScores, title: str) -> str:
    """Return a map of every head as SVG: a row a layer, darker for a higher score; what is below 0 is as light as 0."""
    layers, heads = scores.shape
    highest = max([value for _, _, value in scores.top(layers * heads) if not isnan(value)], default=0.0)
    width, height = MARGIN + heads * CELL + 12, MARGIN + layers * CELL + 12
    cells = [
        f'<rect x="{MARGIN + head * CELL}" y="{MARGIN + layer * CELL}" width="{CELL - 1}" height="{CELL - 1}" '
        f'fill="{_colour(value, highest)}"><title>{escape(scores.label(layer, head))}: {value:.3f}</title></rect>'
        for layer, row in enumerate(scores.values.tolist())
        for head, value in enumerate(row)
    ]
    numbers = [_text(MARGIN - 6, MARGIN + layer * CELL + CELL - 3, str(layer), "end") for layer in range(0, layers, 5)]
    words = [
        _text(MARGIN, 16, title, "start", 13),
        _text(MARGIN, MARGIN - 8, f"heads 0 to {heads - 1}; dark is {highest:.3f}", "start"),
        _text(8, MARGIN - 8, "layer", "start"),
    ]
    width = max(width, MARGIN + 8 * len(title))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'font-family="sans-serif"><rect width="100%" height="100%" fill="#ffffff"/>{"".join(words + numbers + cells)}'
        "</svg>\n"
    )


def _colour(value: float, highest: float) -> str:
    if isnan(value):
        return MISSING
    share = min(1.0, max(0.0, value / highest)) if highest > 0 else 0.0
    return "#" + "".join(f"{round(a + share * (b - a)):02x}" for a, b in zip(LIGHT, DARK, strict=True))


def _text(x: int, y: int, words: str, anchor: str, size: int = 10) -> str:
    return f'<text x="{x}" y="{y}" font-size="{size}" text-anchor="{anchor}" fill="#333">{escape(words)}</text>'
