"""Scores of the highest heads against the length of the sequences that they were measured on."""

from headcount.results import HeadScores, InputError
from headcount.viz import wording
from headcount.viz.style import theme as themes
from headcount.viz.style.figure import Figure
from headcount.viz.style.literal_text import literal

WIDTH, HEIGHT = 480, 300
TOP = 5  # heads drawn


def score_by_length(scores: HeadScores, *, top: int = TOP, title: str | None = None, theme: str = "light") -> Figure:
    """Draw the scores of the highest heads against the number of tokens in a sequence.

    Args:
        scores: Scores measured on sequences of several lengths, as by `score_heads`.
        top: The number of heads to draw, the highest first.
        title: Title above the figure. By default the measure, its definition, model and n; "" leaves it out.
        theme: `"light"` or `"dark"`.

    Returns:
        A figure with one line a head; each point is the mean over sequences of similar length.

    Raises:
        InputError: The scores are not known by length, or the theme is unknown.
    """
    if not isinstance(scores, HeadScores) or scores.by_length is None or scores.lengths is None:
        raise InputError(
            f"scores: expected scores with by_length, as score_heads measures them, got {scores!r}: "
            "measure on sequences of several lengths"
        )
    text, above = themes.title_layout(wording.figure_title(scores) if title is None else title, WIDTH)
    lines = [
        {
            "type": "scatter",
            "x": scores.lengths.tolist(),
            "y": scores.by_length[:, layer, head].tolist(),
            "mode": "lines+markers",
            "name": scores.label(layer, head),
            "line": {"color": themes.SERIES[place % len(themes.SERIES)], "width": 2},
            "marker": {"symbol": themes.SYMBOLS[place % len(themes.SYMBOLS)], "size": 7},
            "hovertemplate": f"{scores.label(layer, head)}<br>%{{x:.0f}} tokens<br>%{{y:.3f}}<extra></extra>",
        }
        for place, (layer, head, _) in enumerate(scores.top(top))
    ]
    layout = {
        "template": themes.template(themes.theme_of(theme)),
        "title": text,
        "width": WIDTH,
        "height": HEIGHT + above,
        "margin": {"l": 64, "r": 24, "t": above, "b": 96},
        "legend": {"orientation": "h", "y": -0.25},
        "xaxis": {"title": {"text": "tokens in a sequence"}, "showgrid": False, "rangemode": "tozero"},
        "yaxis": {"title": {"text": literal(wording.title_of(scores.measure).lower())}, "rangemode": "tozero"},
    }
    return Figure(lines, layout)
