"""Any two scores of a head atlas against each other, with the maps of both; a click marks a head in all three."""

from typing import Any

import numpy as np
from jaxtyping import Float

from headcount.results import HeadAtlas, HeadScores, InputError
from headcount.results.internal import TEXT
from headcount.viz import wording
from headcount.viz.style import theme as themes
from headcount.viz.style.figure import Figure
from headcount.viz.style.literal_text import literal

SIDE, GAP, TOP = 420, 84, 96
DIGITS = 4

MARK_A_HEAD = """
const plot = document.getElementById('{plot_id}');
plot.on('plotly_click', event => {
  const scatter = plot._fullData[0], label = event.points[0].customdata;
  if (!label) return;
  const index = scatter.customdata.indexOf(label), [layer, head] = label.match(/[0-9]+/g).map(Number);
  Plotly.restyle(plot, {x: [[scatter.x[index]], [head], [head]], y: [[scatter.y[index]], [layer], [layer]]}, [3, 4, 5]);
});
"""
"""The script of a saved figure: a click on a point or a cell marks the head in the scatter and in both maps."""


class AtlasFigure(Figure):
    """A figure of an atlas; in a page of its own a click marks a head everywhere."""

    def to_html(self, *args: Any, **options: Any) -> str:
        """Return the figure as HTML, with the script that marks heads."""
        html: str = super().to_html(*args, **{"post_script": MARK_A_HEAD, **options})
        return html


def atlas(
    result: HeadAtlas, *, x: str = "", y: str = "", title: str | None = None, theme: str = "light"
) -> AtlasFigure:
    """Draw two scores of every head against each other, with the map of each; two lists choose the scores.

    In a file that `save` writes, a click on a point or a cell marks the head in all three.

    Args:
        result: The atlas.
        x: The score on the horizontal axis at first, such as `"induction"` or `"on_text/induction"`; the first if left
            out.
        y: The score on the vertical axis at first; the second if left out.
        title: Title above the figure; "" leaves it out.
        theme: `"light"` or `"dark"`.

    Raises:
        InputError: It is no atlas, or has no such score.
    """
    if not isinstance(result, HeadAtlas):
        raise InputError(f"result: expected a HeadAtlas, got {type(result).__name__}")
    scores = all_scores(result)
    names = list(scores)
    first, second = (_place(name, names, place) for place, name in enumerate((x, y)))
    text, top = themes.title_layout(_title(result) if title is None else title, 2 * SIDE + GAP)
    figure = AtlasFigure(_traces(scores, names[first], names[second], themes.theme_of(theme)))
    return figure.update_layout(
        template=themes.template(themes.theme_of(theme)),
        title=text,
        width=2 * SIDE + GAP + 140,
        height=SIDE + top + TOP,
        margin={"l": 64, "r": 76, "t": top + TOP - 40, "b": 56},
        showlegend=False,
        hovermode="closest",
        updatemenus=[_menu(scores, first, horizontal=True), _menu(scores, second, horizontal=False)],
        **_axes(names[first], names[second], result.shape),
    )


def all_scores(result: HeadAtlas) -> dict[str, HeadScores]:
    """Return the scores of an atlas, those on text as `on_text/NAME`; controls are left out."""
    return {**result.random, **{f"{TEXT}/{name}": part for name, part in result.on_text.items()}}


def score_title(name: str) -> str:
    """Return the title of a score by its name in `all_scores`: `Previous token, on text`."""
    title = wording.title_of(name.removeprefix(f"{TEXT}/"))
    return f"{title}, on text" if name.startswith(f"{TEXT}/") else title


def _title(result: HeadAtlas) -> str:
    model = result.provenance.get("model", "")
    return f"Every head of {model}, by two scores" if model else "Every head, by two scores"


def _place(name: str, names: list[str], otherwise: int) -> int:
    if not name:
        return min(otherwise, len(names) - 1)
    if name not in names:
        raise InputError(f"expected a score of the atlas, one of {', '.join(names)}, got {name!r}")
    return names.index(name)


def _numbers(scores: HeadScores) -> Float[np.ndarray, "layer head"]:
    """Return the values to a few digits, NaN for what was not measured: a page holds each of them several times."""
    return scores.values.double().numpy().round(DIGITS)


def _plain(numbers: Any) -> list[Any]:
    """Return numbers as lists, which a button of plotly hands on as they are; None for NaN."""
    plain = numbers.astype(object)
    plain[np.isnan(numbers)] = None
    lists: list[Any] = plain.tolist()
    return lists


def _traces(scores: dict[str, HeadScores], x: str, y: str, theme: themes.Theme) -> list[dict[str, Any]]:
    """Return the scatter, the two maps, and the marks of a head in each, which are empty at first."""
    horizontal, vertical = _numbers(scores[x]), _numbers(scores[y])
    n_layers, n_heads = horizontal.shape
    layers = np.indices(horizontal.shape)[0]
    labels = [scores[x].label(layer, head) for layer in range(n_layers) for head in range(n_heads)]
    bar = {"title": {"text": "layer"}, "thickness": 10, "outlinewidth": 0, "x": 0.47}
    scatter = {
        "type": "scatter", "mode": "markers", "name": "", "x": horizontal.ravel(), "y": vertical.ravel(),
        "customdata": labels, "hovertemplate": "<b>%{customdata}</b><br>%{x:.3f}<br>%{y:.3f}<extra></extra>",
        "marker": {"size": 7, "color": layers.ravel(), "colorscale": themes.SEQUENTIAL, "colorbar": bar},
    }  # fmt: skip
    mark = {"type": "scatter", "mode": "markers", "name": "", "hoverinfo": "skip", "x": [None], "y": [None]}
    ring = {"size": 16, "symbol": "circle-open", "color": theme.ink, "line": {"width": 3}}
    box = {"size": 14, "symbol": "square-open", "color": "#d55e00", "line": {"width": 3}}
    maps = [
        {
            "type": "heatmap", "x": list(range(n_heads)), "y": list(range(n_layers)), "z": grid,
            "customdata": np.array(labels).reshape(n_layers, n_heads), "colorscale": themes.SEQUENTIAL, "zmin": 0,
            "hovertemplate": "<b>%{customdata}</b><br>%{z:.3f}<extra></extra>", "showscale": False,
            "xaxis": f"x{axis}", "yaxis": f"y{axis}",
        }
        for axis, grid in ((2, horizontal), (3, vertical))
    ]  # fmt: skip
    marks = [mark | {"marker": box, "xaxis": f"x{axis}", "yaxis": f"y{axis}"} for axis in (2, 3)]
    return [scatter, *maps, mark | {"marker": ring}, *marks]


def _menu(scores: dict[str, HeadScores], active: int, *, horizontal: bool) -> dict[str, Any]:
    """Return the list that chooses the score of one axis of the scatter, and the map that goes with it."""
    axis, trace, place = ("x", 1, 0.0) if horizontal else ("y", 2, 0.28)
    buttons = []
    for name, part in scores.items():
        grid, text = _numbers(part), literal(score_title(name))
        places = list(range(part.shape[1] if horizontal else part.shape[0]))
        # For each of the two traces: the scatter has the numbers along the axis, the map as a grid.
        data = {axis: [_plain(grid.ravel()), places], "z": [None, _plain(grid)]}
        titles = {f"{axis}axis.title.text": text, f"xaxis{trace + 1}.title.text": text}
        buttons.append({"label": text, "method": "update", "args": [data, titles, [0, trace]]})
    return {
        "buttons": buttons, "active": active, "type": "dropdown", "direction": "down", "showactive": True,
        "x": place, "xanchor": "left", "y": 1.02, "yanchor": "bottom",
    }  # fmt: skip


def _axes(x: str, y: str, shape: tuple[int, ...]) -> dict[str, Any]:
    n_layers, n_heads = shape
    titles = [{"text": literal(score_title(name))} for name in (x, y)]
    down = {"range": [-0.5, n_layers - 0.5], "showgrid": False, "zeroline": False}
    across = {"range": [-0.5, n_heads - 0.5], "showgrid": False, "zeroline": False}
    return {
        "xaxis": {"domain": [0, 0.46], "title": titles[0]},
        "yaxis": {"title": titles[1]},
        "xaxis2": {**across, "domain": [0.6, 0.78], "anchor": "y2", "title": titles[0]},
        "yaxis2": {**down, "anchor": "x2", "title": {"text": "layer"}},
        "xaxis3": {**across, "domain": [0.82, 1], "anchor": "y3", "title": titles[1]},
        "yaxis3": {**down, "anchor": "x3", "showticklabels": False},
    }
