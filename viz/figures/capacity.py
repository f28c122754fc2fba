"""The share of a score that is left as heads are removed along a ranking."""

from collections.abc import Mapping
from typing import Any

from headcount.results import Capacity, InputError, Table
from headcount.viz.style import theme as themes
from headcount.viz.style.figure import Figure
from headcount.viz.style.literal_text import literal

WIDTH, HEIGHT = 560, 320
COLUMNS = ("removed", "retained", "low", "high", "null_mean", "null_low", "null_high")


def capacity_retained(
    capacities: Capacity | Table | Mapping[str, Capacity | Table],
    *,
    title: str | None = None,
    theme: str = "light",
) -> Figure:
    """Draw the share of a score, such as prefix matching, that is left as the least important heads are removed.

    Args:
        capacities: One, or several by name: results of `headcount.stats.compare.capacity`, or a study's tables of it.
        title: Title above the figure; "" leaves it out.
        theme: `"light"` or `"dark"`.

    Returns:
        For each a band (95 %, other examples) and a line from 100 to 0. A single one also has a grey band: the same
        ranking with heads permuted within their layers.

    Raises:
        InputError: There is none, or a table lacks a column.
    """
    named = dict(capacities) if isinstance(capacities, Mapping) else {"": capacities}
    if not named:
        raise InputError("capacities: expected at least one, got none")
    traces = []
    for index, (name, capacity) in enumerate(named.items()):
        columns = _columns(capacity)
        if len(named) == 1:
            traces += _null_traces(columns)
        colour = themes.SERIES[index % len(themes.SERIES)]
        line = {
            "type": "scatter", "x": columns["removed"], "y": columns["retained"], "mode": "lines",
            "line": {"color": colour, "width": 2}, "name": literal(name) or "by importance",
            "hovertemplate": "%{x} heads removed<br>%{y:.1f} % left<extra></extra>",
        }  # fmt: skip
        traces += [_band(columns, "low", "high", colour), line]
    text, top = themes.title_layout("Capacity retained" if title is None else title, WIDTH)
    layout = {
        "template": themes.template(themes.theme_of(theme)),
        "title": text,
        "width": WIDTH,
        "height": HEIGHT + top,
        "margin": {"l": 64, "r": 24, "t": top, "b": 96},
        "legend": {"orientation": "h", "y": -0.25},
        "xaxis": {"title": {"text": "heads removed"}, "showgrid": False},
        "yaxis": {"title": {"text": "score left, %"}, "range": [0, 103]},
    }
    return Figure(traces, layout)


def _columns(capacity: Any) -> dict[str, list[float]]:
    if isinstance(capacity, Capacity):
        rest = {name: list(getattr(capacity, name)) for name in COLUMNS[2:]}
        return {"removed": list(range(len(capacity.curve))), "retained": list(capacity.curve), **rest}
    if not isinstance(capacity, Table) or set(COLUMNS) - set(capacity.columns):
        raise InputError(f"capacities: expected a Capacity, or a Table with {', '.join(COLUMNS)}, got {capacity!r}")
    rows = capacity.records()
    return {name: [row[name] for row in rows] for name in COLUMNS}  # type: ignore[misc]


def _null_traces(columns: Mapping[str, list[float]]) -> list[dict[str, Any]]:
    """Return the grey band and line of the ranking with heads permuted within their layers."""
    line = {"color": themes.NEUTRAL, "dash": "dot", "width": 1}
    mean = {
        "type": "scatter", "x": columns["removed"], "y": columns["null_mean"], "line": line,
        "name": "random within layers",
    }  # fmt: skip
    return [_band(columns, "null_low", "null_high", themes.NEUTRAL), mean]


def _band(columns: Mapping[str, list[float]], low: str, high: str, colour: str) -> dict[str, Any]:
    x = columns["removed"]
    return {
        "type": "scatter", "x": [*x, *x[::-1]], "y": [*columns[high], *columns[low][::-1]], "fill": "toself",
        "mode": "lines", "line": {"width": 0}, "fillcolor": colour, "opacity": 0.18, "hoverinfo": "skip",
        "showlegend": False,
    }  # fmt: skip
