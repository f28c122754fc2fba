"""Two scores of the same heads against each other."""

from math import isfinite, nan
from typing import Any

import plotly.graph_objects as go

from headcount.results import HeadScores, InputError
from headcount.viz import facts, wording
from headcount.viz.figures import theme as themes
from headcount.viz.figures.literal_text import literal

SIDE = 460


def compare(
    a: HeadScores, b: HeadScores, *, ranks: bool = False, title: str | None = None, theme: str = "light"
) -> go.Figure:
    """Draws one score of every head against another.

    Args:
        a: Scores across.
        b: Scores of the same heads upwards.
        ranks: Whether to draw ranks instead of scores, 1 for the highest, which is then at the upper right.
        title: Above the figure; "" leaves it out.
        theme: `"light"` or `"dark"`.

    Returns:
        A point for each head that has both scores, coloured by its layer.

    Raises:
        InputError: These are no scores of heads, or not of one model.
    """
    for name, scores in (("a", a), ("b", b)):
        if not isinstance(scores, HeadScores):
            raise InputError(f"{name}: expected HeadScores, got {type(scores).__name__}")
    if a.shape != b.shape:
        raise InputError(f"expected scores of one shape [layer, head], got {list(a.shape)} and {list(b.shape)}")
    places = [divmod(index, a.shape[1]) for index in range(a.values.numel())]
    x, y = (_ranked(scores, places) if ranks else scores.values.flatten().tolist() for scores in (a, b))
    kept = [index for index, pair in enumerate(zip(x, y, strict=True)) if all(map(isfinite, pair))]
    texts = _hover(a, b)
    figure = go.Figure(
        go.Scatter(
            x=[x[index] for index in kept], y=[y[index] for index in kept], mode="markers", name="",
            marker={"size": 7, "color": [places[index][0] for index in kept], "colorscale": themes.SEQUENTIAL,
                    "colorbar": {"title": {"text": "layer"}, "thickness": 12, "outlinewidth": 0}},
            hovertext=[texts[index] for index in kept], hoverinfo="text",
        )
    )  # fmt: skip
    heading = f"{wording.quantity(b)} against {wording.quantity(a)}, {len(kept)} heads"
    text, top = themes.title(heading.capitalize() if title is None else title, SIDE)
    return figure.update_layout(
        template=themes.template(themes.named(theme)),
        title=text,
        width=SIDE + 100,
        height=SIDE + top,
        margin={"l": 72, "r": 24, "t": top, "b": 56},
        xaxis=_axis(a, ranks),
        yaxis=_axis(b, ranks),
    )


def _ranked(scores: HeadScores, places: list[tuple[int, int]]) -> list[float]:
    found = facts.ranks(scores)
    return [found.get(place, nan) for place in places]


def _hover(a: HeadScores, b: HeadScores) -> list[str]:
    """What hovering over each head says, in the small part of HTML that plotly reads."""
    names = [literal(wording.title_of(scores.measure)) for scores in (a, b)]
    return [
        f"<b>{a.label(*divmod(index, a.shape[1]))}</b><br>{names[0]}: {one}<br>{names[1]}: {other}"
        for index, (one, other) in enumerate(zip(wording.written(a), wording.written(b), strict=True))
    ]


def _axis(scores: HeadScores, ranks: bool) -> dict[str, Any]:
    text = literal(f"{wording.quantity(scores)}{', rank' if ranks else ''}")
    return {"title": {"text": text}, "exponentformat": "power", "autorange": "reversed" if ranks else True}
