"""The share of a score in each layer: of several scores by layer, of several models by relative depth."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from headcount.results import HeadScores, InputError, LayerScores, Table
from headcount.viz import number_format
from headcount.viz.style import theme as themes
from headcount.viz.style.figure import Figure
from headcount.viz.style.literal_text import literal

WIDTH, HEIGHT = 560, 320
COLUMNS = ("layer", "share")


def by_layer(tables: Table | Mapping[str, Table], *, title: str | None = None, theme: str = "light") -> Figure:
    """Draw the share of a score that each layer holds.

    Args:
        tables: Rows with `layer` and `share`, the layer's part of the sum of all scores above 0, and, to be shown on
            hover, `value` and `stderr`, the mean over its heads; or several such tables by name.
        title: Title above the figure; "" leaves it out.
        theme: `"light"` or `"dark"`.

    Returns:
        A line for each table, in percent. The dashed line is an even share of all layers.

    Raises:
        InputError: There are none, or a table lacks a column or rows.
    """
    named = dict(tables) if isinstance(tables, Mapping) else {"": tables}
    if not named:
        raise InputError("tables: expected at least one, got none")
    figure, n_layers = Figure(), 1
    for index, (name, table) in enumerate(named.items()):
        layers, shares = _shares(table)
        n_layers = max(n_layers, *(layer + 1 for layer in layers))
        texts = [_hover_text(name, row, share) for row, share in zip(table.records(), shares, strict=True)]
        _add_line(figure, name, layers, shares, texts, index, index // len(themes.SERIES))
    axis = {"title": {"text": "layer"}, "showgrid": False, "dtick": -(-n_layers // 12)}
    heading = "Share of each layer" if title is None else title
    _add_layout(figure, heading, theme, 100 / n_layers, axis, "share of the sum, %", 30 * (1 + len(named) // 3))
    return figure


def at_depths(
    scores: Mapping[str, HeadScores | LayerScores], *, title: str | None = None, theme: str = "light"
) -> Figure:
    """Draw the share of each layer in several models by relative depth, so that their numbers of layers may differ.

    Args:
        scores: Scores of heads or layers, by the models' names.
        title: Title above the figure; "" leaves it out.
        theme: `"light"` or `"dark"`.

    Returns:
        A line for each model: a layer's part of the sum of all scores above 0, in multiples of an even share, which the
        dashed line marks. Layer l of L lies at depth (l + 1/2) / L.

    Raises:
        InputError: There are none, or something is no scores.
    """
    if not scores:
        raise InputError("scores: expected at least one, got none")
    figure = Figure()
    for index, (name, of_model) in enumerate(scores.items()):
        depths, shares = _by_depth(of_model)
        texts = [
            f"{literal(name)}<br>layer {layer} of {len(shares)}"
            f"<br>{number_format.decimal(share, 2)} times an even share"
            for layer, share in enumerate(shares)
        ]
        _add_line(figure, name, depths, shares, texts, index, index)
    axis = {"title": {"text": "relative depth"}, "showgrid": False, "range": [0, 1]}
    heading = "Share of each layer by depth" if title is None else title
    _add_layout(figure, heading, theme, 1, axis, "times an even share", 24 * len(scores))
    return figure


def _add_line(
    figure: Figure, name: str, x: list[Any], y: list[float], texts: list[str], colour: int, symbol: int
) -> None:
    """Add a line with markers; colour and symbol are numbers in the theme's series."""
    figure.add_scatter(
        x=x, y=y, mode="lines+markers", name=literal(name), showlegend=bool(name),
        line={"color": themes.SERIES[colour % len(themes.SERIES)], "width": 1.5},
        marker={"symbol": themes.SYMBOLS[symbol % len(themes.SYMBOLS)], "size": 6},
        hovertext=texts, hoverinfo="text",
    )  # fmt: skip


def _add_layout(
    figure: Figure, heading: str, theme: str, even: float, x_axis: dict[str, Any], y_title: str, legend: int
) -> None:
    """Add the dashed line of an even share, and the layout with a legend of so many pixels below."""
    figure.add_hline(y=even, line={"dash": "dash", "width": 1})
    text, top = themes.title_layout(heading, WIDTH)
    figure.update_layout(
        template=themes.template(themes.theme_of(theme)),
        title=text,
        width=WIDTH,
        height=HEIGHT + top + legend,
        margin={"l": 64, "r": 24, "t": top, "b": 56 + legend},
        legend={"orientation": "h", "y": -56 / (HEIGHT - 56), "yanchor": "top"},
        xaxis=x_axis,
        yaxis={"title": {"text": y_title}, "rangemode": "tozero"},
    )


def _by_depth(scores: Any) -> tuple[list[float], list[float]]:
    """Return each layer's relative depth, and its part of the sum of all scores above 0, times the number of layers."""
    if not isinstance(scores, HeadScores | LayerScores):
        raise InputError(f"scores: expected HeadScores or LayerScores, got {type(scores).__name__}")
    n_layers = scores.shape[0]
    sums = scores.values.clamp(min=0).reshape(n_layers, -1).nansum(1)
    return [(layer + 0.5) / n_layers for layer in range(n_layers)], (n_layers * sums / sums.sum()).tolist()


def _shares(table: Any) -> tuple[list[int], list[float]]:
    """Return the layers of a table and their shares in percent."""
    if not isinstance(table, Table) or set(COLUMNS) - set(table.columns):
        raise InputError(f"tables: expected a Table with {' and '.join(COLUMNS)}, got {table!r}")
    if not table.rows:
        raise InputError("tables: expected rows, got none; a study's `analyses/layers` has them for each score")
    rows: list[dict[str, Any]] = table.records()
    return [row["layer"] for row in rows], [np.nan if row["share"] is None else 100 * row["share"] for row in rows]


def _hover_text(name: str, row: Mapping[str, Any], share: float) -> str:
    """Return the hover text of a layer, in the subset of HTML that plotly reads."""
    lines = [literal(name), f"layer {row['layer']}", f"{number_format.decimal(share, 1)} % of the sum"]
    if row.get("value") is not None:
        error = row.get("stderr")
        lines.append(f"mean {number_format.scientific(row['value'], np.nan if error is None else error)}")
    return "<br>".join(line for line in lines if line)
