"""A task without the highest heads of each kind, beside random heads of the same layers."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from headcount.results import InputError, SetEffects
from headcount.stats import compare
from headcount.viz import number_format
from headcount.viz.style import theme as themes
from headcount.viz.style.figure import Figure
from headcount.viz.style.literal_text import literal
from headcount.viz.wording import kind_title

WIDTH, HEIGHT = 640, 480
MEASURES = {
    "exact_match": "greedy exact match",
    "accuracy": "accuracy",
    "log_p": "gold log-probability, nats",
}
"""The measures, and the titles of their axes."""


def set_effects(
    effects: SetEffects | Mapping[str, SetEffects],
    *,
    measure: str = "exact_match",
    title: str | None = None,
    theme: str = "light",
) -> Figure:
    """Draw a measure over the share of heads removed, one line a kind, with the random sets as a band behind.

    Args:
        effects: Answers without sets of heads; those to several tasks, by name, are shown in the mean over tasks.
        measure: `"exact_match"`, `"accuracy"` or `"log_p"`.
        title: Title above the figure; "" leaves it out.
        theme: `"light"` or `"dark"`.

    Returns:
        For each kind a solid line with bars of one standard error over documents, from the whole model at 0 %, and a
        dotted one for its heads that are not among the highest of another kind, which the legend hides and shows. The
        grey band is the mean over all random sets, which have as many heads in each layer, plus and minus one standard
        deviation from one draw to another.

    Raises:
        InputError: These are no effects of sets, tasks have different numbers of random sets, no task has the measure,
            or the measure or the theme is unknown.
    """
    tasks = effects if isinstance(effects, Mapping) else {"": effects}
    if not tasks or not all(isinstance(of_task, SetEffects) for of_task in tasks.values()):
        raise InputError(f"effects: expected SetEffects, or several by task, got {type(effects).__name__}")
    if measure not in MEASURES:
        raise InputError(f"measure: expected one of {', '.join(MEASURES)}, got {measure!r}")
    text, top = themes.title_layout(_heading(tasks, measure) if title is None else title, WIDTH)
    table = compare.mean_effects(tasks)
    table = table[table["measure"] == measure] if len(table) else table
    if not len(table):
        raise InputError(f"the tasks have no {MEASURES[measure]}: choose another measure")
    traces = [_band(table)]
    n = sum(of_task.n for of_task in tasks.values())
    for index, kind in enumerate(table["kind"].unique()):
        for without_others in (False, True):
            rows = table[(table["kind"] == kind) & (table["without_others"] == without_others)]
            if len(rows):
                traces.append(_line(kind, rows, index, n, dotted=without_others))
    layout = {
        "template": themes.template(themes.theme_of(theme)),
        "title": text,
        "width": WIDTH,
        "height": HEIGHT + top,
        "margin": {"l": 64, "r": 24, "t": top, "b": 150},
        "legend": {"orientation": "h", "y": -0.25, "yanchor": "top"},
        "xaxis": {"title": {"text": "heads removed, %"}, "showgrid": False},
        "yaxis": {"title": {"text": MEASURES[measure]}, "zeroline": False, "rangemode": "tozero"},
    }
    return Figure(traces, layout)


def _heading(tasks: Mapping[str, SetEffects], measure: str) -> str:
    first = next(iter(tasks.values()))
    subject = first.provenance.get("task", "") if len(tasks) == 1 else f"mean over {len(tasks)} tasks"
    return f"{subject}: {MEASURES[measure]} without heads of a kind"


def _band(table: Any) -> dict[str, Any]:
    """Return the random sets of all kinds: mean plus and minus the standard deviation from one set to another."""
    plain = table[~table["without_others"]].groupby("percent")
    whole = float(table["whole"].iloc[0])
    mean, spread = plain["random"].mean(), np.sqrt(plain["random_spread"].apply(lambda s: (s**2).mean()))
    x = [0.0, *mean.index]
    high, low = [whole, *(mean + spread)], [whole, *(mean - spread)]
    return {
        "type": "scatter", "x": [*x, *x[::-1]], "y": [*high, *low[::-1]], "fill": "toself", "mode": "lines",
        "name": "random heads of the same layers", "line": {"width": 0}, "fillcolor": themes.NEUTRAL, "opacity": 0.25,
        "hoverinfo": "skip", "legendrank": 1,
    }  # fmt: skip


def _line(kind: str, rows: Any, index: int, n: int, *, dotted: bool) -> dict[str, Any]:
    colour = themes.SERIES[index % len(themes.SERIES)]
    name = f"{kind_title(kind)}{', not of other kinds' if dotted else ''}"
    start = {"percent": [0.0], "value": [float(rows["whole"].iloc[0])], "stderr": [0.0]}
    x, y, error = ([*start[column], *rows[column]] for column in ("percent", "value", "stderr"))
    return {
        "type": "scatter", "x": x, "y": y, "mode": "lines+markers", "name": literal(name),
        "error_y": {"type": "data", "array": np.nan_to_num(error), "thickness": 1, "width": 3},
        "line": {"color": colour, "width": 1.5 if dotted else 2.5, "dash": "dot" if dotted else "solid"},
        "marker": {"symbol": themes.SYMBOLS[index % len(themes.SYMBOLS)], "size": 6 if dotted else 8},
        "hovertext": ["the whole model", *(_hover_text(name, row, n) for row in rows.to_dict("records"))],
        "hoverinfo": "text", "visible": "legendonly" if dotted else True, "legendrank": 2 if dotted else 1,
    }  # fmt: skip


def _hover_text(name: str, row: dict[str, Any], n: int) -> str:
    value, beyond = (
        number_format.with_error(row[column], number_format.shown_error(row[f"{error}stderr"], n))
        for column, error in (("value", ""), ("beyond_random", "beyond_random_"))
    )
    tasks = f", {row['tasks']} tasks" if row["tasks"] > 1 else ""
    return (
        f"{literal(name)}<br>the highest {row['percent']:g} %: {row['heads']:.3g} heads<br>{value} (n = {n}{tasks})"
        f"<br>beyond random heads: {beyond}"
    )
