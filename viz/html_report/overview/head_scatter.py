"""The first picture: a dot a head, placed by two scores and coloured by its layer, in percent of the sides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, log10

import numpy as np
from numpy.typing import NDArray
from plotly.colors import sample_colorscale

from headcount.results import HeadScores
from headcount.viz.style.theme import SEQUENTIAL

PLANE = 300  # pixels of the smallest picture's sides, in which names must not cover each other
LETTER, LINE, DOT = 7.5, 14, 5
DARKEST, LIGHTEST = 0.12, 0.95  # of the colour scale, so that every dot is visible on light and on dark
DECADES = (1.5, 6)  # of values above 0 that are shown on a logarithmic axis
MANY_DECADES = 2.5  # from which ticks are at powers of ten alone
TICKS = 6
BESIDE = ((8, 4, "start"), (-8, 4, "end"), (0, -9, "middle"), (0, 18, "middle"), (8, -9, "start"), (8, 16, "start"))


@dataclass(frozen=True)
class Axis:
    """The places of values on one side of the picture, in percent from its beginning.

    Attributes:
        title: The score, and if its axis is logarithmic.
        places: The place of every head; NaN for one without a score.
        ticks: Places and texts of round values.
    """

    title: str
    places: NDArray[np.float64]
    ticks: list[tuple[float, str]]


@dataclass(frozen=True)
class NamedDot:
    """The name of a head beside its dot: the dot's place in percent, and the text's in pixels from there."""

    label: str
    x: float
    y: float
    dx: int
    dy: int
    anchor: str


@dataclass(frozen=True)
class HeadScatter:
    """A scatter plot of all heads.

    Attributes:
        across: The axis across.
        upwards: The axis upwards.
        layers: For each layer its colour, and the flat index, place across and place down of each of its dots; NaN
            for a head without one of the scores.
        ringed: Flat indices of the induction heads, whose dots have rings.
        named: The heads with a name beside their dots.
        border: The place across of the border of induction heads; None where the axis is about something else.
    """

    across: Axis
    upwards: Axis
    layers: list[tuple[str, list[tuple[int, float, float]]]]
    ringed: frozenset[int]
    named: list[NamedDot]
    border: float | None


def axis(title: str, values: NDArray[np.float64], limits: tuple[float, float] | None = None) -> Axis:
    """Return the axis of some values: from 0, or from the lowest below it; logarithmic where they span decades."""
    finite = values[np.isfinite(values)]
    above = limits is None and finite.size > 0 and finite.min() > 0
    if above and DECADES[0] < log10(finite.max() / finite.min()) < DECADES[1]:
        low, high = log10(finite.min()), log10(finite.max())
        margin = 0.04 * (high - low)
        low, high = low - margin, high + margin
        steps = (1, 2, 5) if high - low < MANY_DECADES else (1,)
        rounds = [step * 10.0**exponent for exponent in range(floor(low), ceil(high)) for step in steps]
        ticks = [(log10(value), _short(value)) for value in rounds if low <= log10(value) <= high]
        return Axis(f"{title}, logarithmic", _percent(np.log10(values), low, high), _placed(ticks, low, high))
    low, high = limits or (min(0.0, float(finite.min(initial=0))), float(finite.max(initial=0)) * 1.04 or 1.0)
    size = 10.0 ** floor(log10(high - low)) / 10
    step = next(step * size for step in (2, 2.5, 5, 10, 20, 25, 50, 100) if (high - low) / (step * size) <= TICKS)
    ticks = [(step * count, _short(step * count)) for count in range(ceil(low / step), floor(high / step + 1e-9) + 1)]
    return Axis(title, _percent(values, low, high), _placed(ticks, low, high))


def head_scatter(
    across: Axis,
    upwards: Axis,
    scores: HeadScores,
    named: Sequence[tuple[int, int]],
    *,
    ringed: Sequence[tuple[int, int]] = (),
    border: float | None = None,
) -> HeadScatter:
    """Place the dots of all heads, and names where they cover nothing.

    Args:
        across: The axis across.
        upwards: The axis upwards.
        scores: Scores of the same heads, for their shape and names.
        named: The heads to name, the first ones before others.
        ringed: The heads whose dots have rings.
        border: The place across of a border between heads.
    """
    n_layers, n_heads = scores.shape
    x, y = across.places, 100 - upwards.places
    colours = sample_colorscale(SEQUENTIAL, np.linspace(DARKEST, LIGHTEST, n_layers) if n_layers > 1 else [DARKEST])
    layers = [
        (
            colours[layer],
            [
                (place, round(float(x[place]), 1), round(float(y[place]), 1))
                for place in range(layer * n_heads, (layer + 1) * n_heads)
            ],
        )
        for layer in range(n_layers)
    ]
    places = [layer * n_heads + head for layer, head in named]
    shown = [place for place in places if np.isfinite(x[place]) and np.isfinite(y[place])]
    names = _named([(scores.label(*divmod(place, n_heads)), float(x[place]), float(y[place])) for place in shown])
    rings = frozenset(layer * n_heads + head for layer, head in ringed)
    return HeadScatter(across, upwards, layers, rings, names, border)


def _percent(values: NDArray[np.float64], low: float, high: float) -> NDArray[np.float64]:
    return 100 * (values - low) / ((high - low) or 1)


def _placed(ticks: list[tuple[float, str]], low: float, high: float) -> list[tuple[float, str]]:
    places = _percent(np.array([value for value, _ in ticks]), low, high)
    return [(round(float(place), 2), text) for place, (_, text) in zip(places, ticks, strict=True)]


def _short(value: float) -> str:
    return f"{value:.10g}" if abs(value) >= 1e-3 or value == 0 else f"{value:.0e}".replace("e-0", "e-")


def _named(dots: list[tuple[str, float, float]]) -> list[NamedDot]:
    """Return the names that find room on some side of their dots, without covering names before them."""
    centres = [(PLANE * x / 100, PLANE * y / 100) for _, x, y in dots]
    boxes = [(x - DOT, x + DOT, y - DOT, y + DOT) for x, y in centres]
    names = []
    for label, x, y in dots:
        for dx, dy, anchor in BESIDE:
            box = _box(label, x, y, dx, dy, anchor)
            inside = box[0] >= 0 and box[1] <= PLANE and box[2] >= -LINE and box[3] <= PLANE
            if inside and not any(_overlap(box, other) for other in boxes):
                boxes.append(box)
                names.append(NamedDot(label, round(x, 2), round(y, 2), dx, dy, anchor))
                break
    return names


def _box(label: str, x: float, y: float, dx: int, dy: int, anchor: str) -> tuple[float, float, float, float]:
    """Return the left, right, upper and lower side of a name in the smallest picture."""
    width = LETTER * len(label)
    left = PLANE * x / 100 + dx - {"start": 0.0, "middle": width / 2, "end": width}[anchor]
    bottom = PLANE * y / 100 + dy
    return left, left + width, bottom - LINE, bottom


def _overlap(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> bool:
    return a[0] < b[1] and b[0] < a[1] and a[2] < b[3] and b[2] < a[3]
