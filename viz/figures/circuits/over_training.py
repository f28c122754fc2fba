"""A score of heads over training: the highest head, its control, and the step between which it rises most."""

from collections.abc import Mapping
from itertools import pairwise
from math import isnan, sqrt
from typing import Any, NamedTuple

from headcount.results import HeadScores, InputError
from headcount.viz import number_format, wording
from headcount.viz.style import theme as themes
from headcount.viz.style.figure import Figure
from headcount.viz.style.literal_text import literal

WIDTH, HEIGHT = 640, 420
DRAWN = 5
"""Heads that are drawn, the highest of the last checkpoint."""


class Rise(NamedTuple):
    """The largest rise of a head's score from one checkpoint to the next.

    Attributes:
        before, after: The steps.
        size: The rise.
        stderr: Its standard error; NaN where unknown.
    """

    before: int
    after: int
    size: float
    stderr: float

    @property
    def is_sure(self) -> bool:
        """True if it is above twice its standard error; without one, never."""
        return self.size > 2 * self.stderr


def over_training(scores: Mapping[int, HeadScores], *, title: str | None = None, theme: str = "light") -> Figure:
    """Draw the heads that are highest at the end over the steps of training, and mark where the first of them forms.

    Args:
        scores: One score of all heads by training step, such as `{step: atlas.induction for step, atlas in ...}`.
        title: Title above the figure; by default the measure and the model. "" leaves it out.
        theme: `"light"` or `"dark"`.

    Returns:
        One line with standard errors for each of the five heads that are highest at the last step, and a grey one for
        the mean over all heads. The band marks the two checkpoints between which the highest head's score rises most:
        the phase change, if it is steep. No band where the rise is below twice its error.

    Raises:
        InputError: There are fewer than two checkpoints, or they are of models of different shapes or of other scores.
    """
    steps = check_checkpoints(scores)
    last = scores[steps[-1]]
    text, top = themes.title_layout(wording.figure_title(last) if title is None else title, WIDTH)
    heads = [(layer, head) for layer, head, _ in last.top(DRAWN)]
    traces = [_line(scores, steps, head, number) for number, head in enumerate(heads)]
    traces.append(_mean_line(scores, steps))
    rise = largest_rise(scores, heads[0]) if heads else None
    layout: dict[str, Any] = {
        "template": themes.template(themes.theme_of(theme)),
        "title": text, "width": WIDTH, "height": HEIGHT + top, "margin": {"l": 64, "r": 24, "t": top, "b": 56},
        "xaxis": {"title": {"text": "training step"}, "showgrid": False, "type": "log" if steps[0] > 0 else "linear"},
        "yaxis": {"title": {"text": literal(wording.title_of(last.measure))}, "zeroline": False},
        "legend": {"title": {"text": "highest at the end"}},
    }  # fmt: skip
    if rise is not None and rise.is_sure:
        layout["shapes"] = [_band(rise)]
        layout["annotations"] = [_note(rise, heads[0])]
    return Figure(traces, layout)


def largest_rise(scores: Mapping[int, HeadScores], head: tuple[int, int]) -> Rise:
    """Return the largest rise of a head's score from one checkpoint to the next, with its standard error.

    The checkpoints' sequences are the same, so that the error is a little too large rather than too small.
    """
    steps = check_checkpoints(scores)
    rises = []
    for before, after in pairwise(steps):
        low, high = _value(scores[before], head), _value(scores[after], head)
        rises.append(Rise(before, after, high[0] - low[0], sqrt(low[1] ** 2 + high[1] ** 2)))
    measured = [rise for rise in rises if not isnan(rise.size)]
    return max(measured, key=lambda rise: rise.size, default=Rise(steps[0], steps[-1], float("nan"), float("nan")))


def check_checkpoints(scores: Mapping[int, HeadScores]) -> list[int]:
    """Return the steps in order.

    Raises:
        InputError: There are fewer than two, or they do not belong together.
    """
    if len(scores) < 2:
        raise InputError(f"scores: expected two checkpoints or more, got {len(scores)}")
    kinds = {(part.shape, part.measure, part.definition) for part in scores.values()}
    if len(kinds) > 1:
        raise InputError("scores: expected one score of one shape at every step, got several: measure them alike")
    return sorted(scores)


def _value(scores: HeadScores, head: tuple[int, int]) -> tuple[float, float]:
    error = float("nan") if scores.stderr is None else float(scores.stderr[head])
    return float(scores.values[head]), error


def _line(scores: Mapping[int, HeadScores], steps: list[int], head: tuple[int, int], number: int) -> dict[str, Any]:
    points = [_value(scores[step], head) for step in steps]
    label = scores[steps[0]].label(*head)
    texts = [
        f"{label}, step {step}<br>"
        + number_format.with_error(value, number_format.shown_error(error, scores[step].n))
        + f" (n = {scores[step].n})"
        for step, (value, error) in zip(steps, points, strict=True)
    ]
    return {
        "type": "scatter", "mode": "lines+markers", "name": label, "x": steps, "y": [value for value, _ in points],
        "error_y": {"type": "data", "array": [0.0 if isnan(error) else error for _, error in points], "thickness": 1},
        "line": {"color": themes.SERIES[number % len(themes.SERIES)], "width": 2},
        "hovertext": texts, "hoverinfo": "text",
    }  # fmt: skip


def _mean_line(scores: Mapping[int, HeadScores], steps: list[int]) -> dict[str, Any]:
    means = [float(scores[step].values.nanmean()) for step in steps]
    return {
        "type": "scatter", "mode": "lines", "name": "mean over all heads", "x": steps, "y": means,
        "line": {"color": themes.NEUTRAL, "width": 2, "dash": "dot"},
        "hovertext": [f"mean over all heads, step {step}: {mean:.3f}" for step, mean in zip(steps, means, strict=True)],
        "hoverinfo": "text",
    }  # fmt: skip


def _band(rise: Rise) -> dict[str, Any]:
    return {
        "type": "rect", "xref": "x", "yref": "paper", "x0": rise.before, "x1": rise.after, "y0": 0, "y1": 1,
        "fillcolor": themes.NEUTRAL, "opacity": 0.2, "line": {"width": 0}, "layer": "below",
    }  # fmt: skip


def _note(rise: Rise, head: tuple[int, int]) -> dict[str, Any]:
    size = number_format.with_error(rise.size, rise.stderr)
    return {
        "text": f"L{head[0]}H{head[1]} rises most from step {rise.before} to {rise.after}: {size}",
        "xref": "paper", "yref": "paper", "x": 0, "y": 1, "showarrow": False, "xanchor": "left", "yanchor": "bottom",
        "font": {"size": 11},
    }  # fmt: skip
