"""A scatter plot of two scores of the same heads."""

from math import isfinite, nan
from typing import Any

import plotly.graph_objects as go

from headcount.results import HeadScores, InputError
from headcount.viz import number_format, wording
from headcount.viz.ranks import ranks as ranks_of
from headcount.viz.style import theme as themes
from headcount.viz.style.figure import Figure
from headcount.viz.style.literal_text import literal

SIDE = 460


def compare(
    a: HeadScores, b: HeadScores, *, ranks: bool = False, title: str | None = None, theme: str = "light"
) -> Figure:
    """Draw one score of every head over another.

    Args:
        a: Scores on the horizontal axis.
        b: Scores of the same heads on the vertical axis.
        ranks: True to draw ranks instead of scores, with rank 1, the highest score, at the upper right.
        title: Title above the figure; "" leaves it out.
        theme: `"light"` or `"dark"`.

    Returns:
        A point for each head that has both scores, coloured by its layer.

    Raises:
        InputError: These are no scores of heads, or not of one model.
    """
    _check(a, b)
    heads = [divmod(index, a.shape[1]) for index in range(a.values.numel())]
    x, y = (_ranks(scores, heads) if ranks else scores.values.flatten().tolist() for scores in (a, b))
    measured = [index for index, pair in enumerate(zip(x, y, strict=True)) if all(map(isfinite, pair))]
    texts = _hover_texts(a, b)
    figure = Figure(
        go.Scatter(
            x=[x[index] for index in measured], y=[y[index] for index in measured], mode="markers", name="",
            marker={"size": 7, "color": [heads[index][0] for index in measured], "colorscale": themes.SEQUENTIAL,
                    "colorbar": {"title": {"text": "layer"}, "thickness": 12, "outlinewidth": 0}},
            hovertext=[texts[index] for index in measured], hoverinfo="text",
        )
    )  # fmt: skip
    heading = f"{wording.quantity(b)} against {wording.quantity(a)}, {len(measured)} heads"
    text, top = themes.title_layout(heading.capitalize() if title is None else title, SIDE)
    return figure.update_layout(
        template=themes.template(themes.theme_of(theme)),
        title=text,
        width=SIDE + 100,
        height=SIDE + top,
        margin={"l": 72, "r": 24, "t": top, "b": 56},
        xaxis=_axis(a, ranks),
        yaxis=_axis(b, ranks),
    )


def _check(a: Any, b: Any) -> None:
    for name, scores in (("a", a), ("b", b)):
        if not isinstance(scores, HeadScores):
            raise InputError(f"{name}: expected HeadScores, got {type(scores).__name__}")
    if a.shape != b.shape:
        raise InputError(f"expected scores of one shape [layer, head], got {list(a.shape)} and {list(b.shape)}")


def _ranks(scores: HeadScores, heads: list[tuple[int, int]]) -> list[float]:
    by_head = ranks_of(scores)
    return [by_head.get(head, nan) for head in heads]


def _hover_texts(a: HeadScores, b: HeadScores) -> list[str]:
    """Return the hover text of each head, in the subset of HTML that plotly reads."""
    titles = [literal(wording.title_of(scores.measure)) for scores in (a, b)]
    texts = zip(number_format.score_texts(a), number_format.score_texts(b), strict=True)
    return [
        f"<b>{a.label(*divmod(index, a.shape[1]))}</b><br>{titles[0]}: {first}<br>{titles[1]}: {second}"
        for index, (first, second) in enumerate(texts)
    ]


def _axis(scores: HeadScores, ranks: bool) -> dict[str, Any]:
    text = literal(f"{wording.quantity(scores)}{', rank' if ranks else ''}")
    return {"title": {"text": text}, "exponentformat": "power", "autorange": "reversed" if ranks else True}
