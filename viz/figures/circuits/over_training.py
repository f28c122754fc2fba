"""A score of heads over training: the highest head, its control, and the step between which it rises most."""

from collections.abc import Mapping
from math import isnan, nan
from typing import Any

from headcount.results import HeadScores
from headcount.stats import Rise, check_checkpoints, largest_rise
from headcount.viz import number_format, wording
from headcount.viz.style import theme as themes
from headcount.viz.style.figure import Figure
from headcount.viz.style.literal_text import literal

WIDTH, HEIGHT = 640, 420
DRAWN = 5
"""Heads that are drawn, the highest of the last checkpoint."""


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


def _line(scores: Mapping[int, HeadScores], steps: list[int], head: tuple[int, int], number: int) -> dict[str, Any]:
    errors = [scores[step].stderr for step in steps]
    points = [
        (float(scores[step].values[head]), nan if error is None else float(error[head]))
        for step, error in zip(steps, errors, strict=True)
    ]
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
