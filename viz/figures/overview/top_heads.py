"""The highest heads of a score with their errors, beside the highest head with random weights."""

import numpy as np

from headcount.results import HeadScores, InputError
from headcount.viz import number_format, wording
from headcount.viz.style import theme as themes
from headcount.viz.style.figure import Figure
from headcount.viz.style.literal_text import literal

WIDTH, ROW = 520, 20
TOP = 16  # heads drawn


def top_heads(
    scores: HeadScores,
    *,
    random: HeadScores | None = None,
    threshold: float | None = None,
    top: int = TOP,
    title: str | None = None,
    theme: str = "light",
) -> Figure:
    """Draw the highest heads of a score, with bars of two standard errors.

    Args:
        scores: The scores of all heads.
        random: The same scores with random weights; a dashed line marks the highest of them.
        threshold: A score that a dotted line marks.
        top: The number of heads to draw, the highest at the top.
        title: Title above the figure. By default the measure, its definition, model and n; "" leaves it out.
        theme: `"light"` or `"dark"`.

    Returns:
        A figure with one point a head. Points have no bars where the error is not known.

    Raises:
        InputError: These are no scores of heads, or the theme is unknown.
    """
    if not isinstance(scores, HeadScores):
        raise InputError(f"scores: expected HeadScores, got {type(scores).__name__}")
    colours = themes.theme_of(theme)
    text, above = themes.title_layout(wording.figure_title(scores) if title is None else title, WIDTH)
    heads = scores.top(top)
    names, errors = [scores.label(layer, head) for layer, head, _ in heads], number_format.shown_errors(scores)
    points = {
        "type": "scatter",
        "mode": "markers",
        "x": [value for *_, value in heads],
        "y": names,
        "error_x": None
        if errors is None
        else {"array": [2 * float(errors[layer, head]) for layer, head, _ in heads], "thickness": 1.5, "width": 4},
        "marker": {"size": 8},
        "hovertemplate": "%{y}: %{x:.3f}<extra></extra>",
    }
    lines = [] if threshold is None else [_line(threshold, "dot", f"{threshold:g}", colours)]
    if random is not None and bool(random.values.isfinite().any()):
        highest = float(np.nanmax(random.values.numpy()))
        lines.append(_line(highest, "dash", "random weights", colours))
    layout = {
        "template": themes.template(colours),
        "title": text,
        "width": WIDTH,
        "height": ROW * max(4, len(names)) + above + 78,
        "margin": {"l": 64, "r": 24, "t": above + 14, "b": 52},
        "showlegend": False,
        "xaxis": {"title": {"text": literal(wording.title_of(scores.measure).lower())}, "rangemode": "tozero"},
        "yaxis": {"type": "category", "autorange": "reversed", "showgrid": False},
        "shapes": [shape for shape, _ in lines],
        "annotations": [note for _, note in lines],
    }
    return Figure([points], layout)


def _line(value: float, dash: str, text: str, theme: themes.Theme) -> tuple[dict[str, object], dict[str, object]]:
    """Return an upright line and its text above the figure."""
    place = {"x0": value, "x1": value, "y0": 0, "y1": 1, "yref": "paper"}
    shape = {"type": "line", **place, "line": {"width": 1.5, "dash": dash}}
    anchor = {"x": value, "y": 1, "yref": "paper", "yanchor": "bottom", "xanchor": "left", "showarrow": False}
    return shape, {**anchor, "text": literal(text)}
