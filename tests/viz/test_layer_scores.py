"""The layer figure's data: points, errors, and what hovering says."""

from math import inf, nan

import numpy as np
import pytest
import torch

from headcount import viz
from headcount.results import HeadScores, InputError, LayerScores


def drops(values: object, **more: object) -> LayerScores:
    return LayerScores(values, measure="ffn_importance", definition="oracle, accuracy", **more)


def test_one_point_a_layer_with_its_standard_error() -> None:
    figure = viz.ffn_importance(drops([0.5, -0.25], variance=[0.04, 0.16], n=4))
    trace = figure.data[0]
    assert list(trace.x) == [0, 1]
    assert list(trace.y) == [0.5, -0.25]
    np.testing.assert_allclose(trace.error_y.array, [0.1, 0.2], rtol=1e-6)
    assert trace.error_y.visible
    assert figure.layout.yaxis.zeroline
    assert figure.layout.yaxis.title.text == "drop in accuracy"


def test_no_bars_where_the_error_is_unknown() -> None:
    assert not viz.ffn_importance(drops([1])).data[0].error_y.visible


def test_hover_says_everything_about_a_layer() -> None:
    scores = drops([0.0125, 0.03], variance=[0.04, 0.04], n=400, extras={"log_p": [0.5, 0.25], "<b>": [0, 0]})
    assert viz.ffn_importance(scores).data[0].hovertext[0].split("<br>") == [
        "<b>L0</b>: layer 0",
        "FFN importance",
        "0.013 ± 0.010 (n = 400)",
        "rank 2 of 2",
        "Drop of gold log-probability, nats: 0.500",
        "&lt;b&gt;: 0.000",
    ]


def test_a_layer_without_a_score_is_a_cross_on_the_line_of_zero() -> None:
    points, crosses = viz.ffn_importance(drops([0.5, nan, inf])).data
    np.testing.assert_array_equal(points.y, [0.5, nan, nan])
    assert "n/a (n = 1)<br>rank n/a of 3" in points.hovertext[1]
    assert (list(crosses.x), list(crosses.y), crosses.hoverinfo) == ([1, 2], [0, 0], "skip")


def test_the_title_says_what_how_how_often_and_on_what() -> None:
    scores = drops(torch.zeros(40), n=8, provenance={"task": "piqa", "model": "gpt2"})
    title = viz.ffn_importance(scores).layout.title.text
    assert title == "FFN importance (oracle, accuracy), piqa, gpt2, n = 8"
    assert viz.ffn_importance(scores, title="Mine").layout.title.text == "Mine"
    assert viz.ffn_importance(scores, title="").layout.height < viz.ffn_importance(scores).layout.height


@pytest.mark.parametrize("n_layers", [1, 30, 96])
def test_the_figure_fits_a_screen(n_layers: int) -> None:
    assert 340 <= viz.ffn_importance(drops(torch.zeros(n_layers))).layout.width <= 680


def test_the_theme_is_light_or_dark() -> None:
    figure = viz.ffn_importance(drops([1]), theme="dark")
    assert figure.layout.template.layout.paper_bgcolor == "#14171b"
    with pytest.raises(InputError, match="theme: expected one of light, dark"):
        viz.ffn_importance(drops([1]), theme="")


def test_anything_but_scores_of_layers_is_bad_input() -> None:
    with pytest.raises(InputError, match=r"expected LayerScores, got HeadScores; viz\.heads draws"):
        viz.ffn_importance(HeadScores([[1]]))
