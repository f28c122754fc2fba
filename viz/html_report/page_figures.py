"""The figures of a page by their names, which its address and its scripts use, and their data."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.io.json import to_json_plotly

from headcount.results import HeadScores, LayerScores, Setting
from headcount.viz import wording
from headcount.viz.contents import Contents
from headcount.viz.figures.layer_scores import ffn_importance
from headcount.viz.figures.loss_curve import loss_by_repeat
from headcount.viz.figures.score_map import heads_for_page
from headcount.viz.html_report.views import Section
from headcount.viz.style.theme import THEMES, template

Figure = dict[str, Any]  # as plotly reads it
LIMITS = {"prefix_matching": (0.0, 1.0)}  # a share of attention, in every definition
MANY_HEADS = 2_048
"""In maps of more heads standard errors are rounded, so that the page of the largest models stays small."""


def figure_name(part: str, setting: Setting) -> str:
    """Return the name of the figure of `heads` or `ffns` at a setting, such as `heads/piqa.0shot`."""
    return f"{part}/{setting}"


def scores_by_figure(contents: Contents) -> dict[str, HeadScores | LayerScores]:
    """Return every score of heads and layers by the name of its figure."""
    heads = {figure_name("heads", setting): scores for setting, scores in contents.heads.items()}
    ffns = {figure_name("ffns", setting): scores for setting, scores in contents.ffns.items()}
    return {**contents.maps, **heads, **ffns}


def map_titles(contents: Contents) -> dict[str, str]:
    """Return the titles of the maps of all heads by their figures' names."""
    measures = {measure: wording.title_of(measure) for measure in contents.maps}
    return measures | _setting_titles("heads", "head_importance", contents.heads)


def score_titles(contents: Contents) -> dict[str, str]:
    """Return the titles of all scores, of heads and of layers, by their figures' names."""
    return map_titles(contents) | _setting_titles("ffns", "ffn_importance", contents.ffns)


def _setting_titles(part: str, measure: str, settings: Iterable[Setting]) -> dict[str, str]:
    title = wording.title_of(measure)
    return {figure_name(part, setting): f"{title}: {setting.title}" for setting in settings}


def figures_of(contents: Contents) -> dict[str, Figure]:
    """Draw the figures of scores and of the loss, by their names."""
    figures = {measure: score_map(measure, scores) for measure, scores in contents.maps.items()}
    if contents.loss is not None:
        figures["repeat_loss"] = plain(loss_by_repeat(contents.loss))
    for setting, scores in contents.heads.items():
        name = figure_name("heads", setting)
        figures[name] = score_map(name, scores)
    for setting, drops in contents.ffns.items():
        figures[figure_name("ffns", setting)] = plain(ffn_importance(drops, title=""))
    return figures


def view_figures(sections: Iterable[Section]) -> dict[str, Figure]:
    """Return the figures of sections with views, by their names."""
    views = {section.name(view): view for section in sections for view in section.views}
    return {name: plain(view.figure) for name, view in views.items() if view.figure is not None}


def score_map(name: str, scores: HeadScores) -> Figure:
    """Draw the map of heads with a figure's name."""
    return heads_for_page(scores, limits=LIMITS.get(name))


def plain(figure: go.Figure) -> Figure:
    """Return a figure as plotly's JSON without colours, which the page adds."""
    figure_json: Figure = figure.to_plotly_json()
    del figure_json["layout"]["template"]
    return figure_json


class NumberStore:
    """The float32 numbers of all maps of a page, in one block of bytes.

    The first byte of every number comes first, then the second bytes, and so on: signs and exponents, which are alike,
    lie together, and the block compresses to about four fifths.
    """

    def __init__(self) -> None:
        self._arrays: list[np.ndarray[Any, Any]] = []
        self._count = 0

    def add(self, array: np.ndarray[Any, Any]) -> list[int]:
        """Add an array; return the place of its first number, and the number of them."""
        place = [self._count, array.size]
        self._arrays.append(np.ascontiguousarray(array, "<f4").ravel())
        self._count += array.size
        return place

    def bytes(self) -> bytes:
        """Return the block."""
        numbers = np.concatenate(self._arrays) if self._arrays else np.zeros(0, "<f4")
        return numbers.view(np.uint8).reshape(-1, 4).T.tobytes()


def without_numbers(figures: Mapping[str, Figure], store: NumberStore) -> dict[str, Figure]:
    """Return figures whose maps name the places of their numbers in a store, which takes them."""

    def moved(trace: dict[str, Any]) -> dict[str, Any]:
        meta = trace.get("meta")
        if not isinstance(meta, dict):
            return trace
        arrays = {
            name: store.add(_without_last_byte(value) if name == "errors" and value.size > MANY_HEADS else value)
            for name, value in meta.items()
            if isinstance(value, np.ndarray)
        }
        return {**trace, "meta": meta | arrays}

    return {name: {**figure, "data": [moved(trace) for trace in figure["data"]]} for name, figure in figures.items()}


def _without_last_byte(errors: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return float32 standard errors to within 1 in 65 536, with a last byte of 0, which compresses to nothing."""
    bits = np.ascontiguousarray(errors, "<f4").view("<u4")
    rounded: np.ndarray[Any, Any] = ((bits + 0x80) & 0xFFFFFF00).astype("<u4").view("<f4")
    return rounded


def figure_data(figures: Mapping[str, Figure], titles: Mapping[str, str]) -> str:
    """Return the figures, the light and dark templates, and the titles of the maps of heads, as JSON."""
    templates = {name: template(theme) for name, theme in THEMES.items()}
    # Maps of one model share their layout.
    texts = {name: to_json_plotly(figure["layout"]) for name, figure in figures.items()}
    layouts = {text: figures[name]["layout"] for name, text in texts.items()}
    indices = {text: index for index, text in enumerate(layouts)}
    parts = {name: {**figure, "layout": indices[texts[name]]} for name, figure in figures.items()}
    data: str = to_json_plotly(
        {"figures": parts, "layouts": list(layouts.values()), "templates": templates, "metrics": titles}
    )
    return data
