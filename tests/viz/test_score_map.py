"""The score map's data: what is drawn, in which colours, and what hovering says."""

import json
from math import inf, nan

import numpy as np
import plotly.graph_objects as go
import pytest
import torch

from headcount import viz
from headcount.results import HeadScores, InputError, LayerScores

VALUES = torch.tensor([[0.125, 0.5, nan], [0.75, 0.0, 0.5]])


def scores(**more: object) -> HeadScores:
    return HeadScores(VALUES, n=4, measure="prefix_matching", definition="successor", **more)


def test_layer_0_is_at_the_bottom_and_heads_go_across() -> None:
    figure = viz.heads(scores())
    np.testing.assert_array_equal(figure.data[0].z, VALUES)
    assert figure.layout.yaxis.range == (-0.5, 1.5)
    assert figure.layout.xaxis.range == (-0.5, 2.5)
    assert figure.layout.yaxis.title.text == "layer"
    assert figure.layout.xaxis.title.text == "head"


@pytest.mark.parametrize(
    "values",
    [VALUES.bfloat16(), VALUES.half(), VALUES.double().requires_grad_(), VALUES.numpy(), VALUES.tolist()],
    ids=["bf16", "half", "double", "numpy", "lists"],
)
def test_bare_values_of_any_kind_are_drawn(values: object) -> None:
    np.testing.assert_array_equal(viz.heads(values).data[0].z, VALUES)


@pytest.mark.parametrize("values", [torch.zeros(3), torch.zeros(2, 2, 2), 1.0, LayerScores([1]), None])
def test_anything_else_is_bad_input(values: object) -> None:
    with pytest.raises(InputError, match=r"values: expected (shape|real numbers)"):
        viz.heads(values)


def test_hover_says_everything_about_a_head() -> None:
    figure = viz.heads(scores(variance=torch.full((2, 3), 0.25), extras={"self_attention": VALUES, "my_own": VALUES}))
    assert figure.data[0].hoverinfo == "text"
    assert figure.data[0].hovertext[1][0].split("<br>") == [
        "<b>L1H0</b>: layer 1, head 0",
        "Prefix matching",
        "0.75 ± 0.25 (n = 4)",
        "rank 1 of 6",
        "Most on itself: 0.750",
        "My own: 0.750",
    ]


def test_ties_share_no_rank() -> None:
    hover = viz.heads(scores()).data[0].hovertext
    assert "0.500 (n = 4)<br>rank 2 of 6" in hover[0][1]
    assert "0.500 (n = 4)<br>rank 3 of 6" in hover[1][2]


def test_a_head_without_a_score_is_an_empty_cell_with_a_cross() -> None:
    heat, crosses = viz.heads(scores()).data
    assert np.isnan(heat.z[0][2])
    assert "n/a (n = 4)<br>rank n/a of 6" in heat.hovertext[0][2]
    assert (list(crosses.x), list(crosses.y), crosses.hoverinfo) == ([2], [0], "skip")
    assert len(viz.heads([[1.0]]).data) == 1


def test_infinite_scores_do_not_spoil_the_colours() -> None:
    heat, crosses = viz.heads([[inf, 0.5], [0.25, 0.125]]).data
    assert (heat.zmin, heat.zmax) == (0, 0.5)
    assert "inf" in heat.hovertext[0][0]
    assert list(crosses.x) == [0]


@pytest.mark.parametrize(
    ("values", "limits", "expected"),
    [
        ([[0.25, 0.5]], None, (0, 0.5)),
        ([[-0.25, 2.0]], None, (-2, 2)),
        ([[-3.0, -1.0]], None, (-3, 3)),
        ([[0.0, 0.0]], None, (0, 1)),
        ([[nan, nan]], None, (0, 1)),
        ([[0.25, 0.5]], (0, 1), (0, 1)),
    ],
)
def test_colours_run_from_zero_or_evenly_to_both_sides_of_it(values: list, limits: tuple, expected: tuple) -> None:
    heat = viz.heads(values, limits=limits).data[0]
    assert (heat.zmin, heat.zmax) == expected


@pytest.mark.parametrize("limits", [(1, 0), (0, 0), (0, nan)])
def test_limits_are_an_interval(limits: tuple) -> None:
    with pytest.raises(InputError, match=r"limits: expected two numbers, the lower one first"):
        viz.heads([[1]], limits=limits)


def test_signed_scores_are_blue_and_orange_others_viridis() -> None:
    viridis = go.Heatmap(colorscale="Viridis").colorscale
    assert viz.heads([[0.0, 1.0]]).data[0].colorscale == viridis
    for theme in ("light", "dark"):
        below, middle, above = (stop[1] for stop in viz.heads([[-1, 1]], theme=theme).data[0].colorscale[::2])
        assert rgb(below)[2] > rgb(below)[0]
        assert rgb(above)[0] > rgb(above)[2]
        assert max(rgb(middle)) - min(rgb(middle)) < 12


def rgb(colour: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(colour.removeprefix("#")))


def test_the_theme_is_light_or_dark() -> None:
    backgrounds = [viz.heads([[1]], theme=theme).layout.template.layout.paper_bgcolor for theme in ("light", "dark")]
    assert backgrounds == ["#ffffff", "#14171b"]
    with pytest.raises(InputError, match=r"theme: expected one of light, dark, got 'solarized'"):
        viz.heads([[1]], theme="solarized")


@pytest.mark.parametrize("shape", [(2, 4), (12, 12), (30, 9), (64, 72), (96, 128)])
def test_cells_are_square_and_the_figure_fits_a_screen(shape: tuple[int, int]) -> None:
    layout = viz.heads(torch.zeros(shape)).layout
    margin = layout.margin
    width = (layout.width - margin.l - margin.r) / shape[1]
    height = (layout.height - margin.t - margin.b) / shape[0]
    assert width == height
    assert 5 < width <= 40
    assert max(layout.width, layout.height) < 1000


@pytest.mark.parametrize(("length", "step"), [(9, 2), (72, 5), (4, 1)])
def test_ticks_are_round_numbers_from_zero(length: int, step: int) -> None:
    axis = viz.heads(torch.zeros(max(length, 30) if length > 4 else 2, length)).layout.xaxis
    assert (axis.tick0, axis.dtick) == (0, step)


def test_the_title_says_what_how_how_often_and_on_what() -> None:
    wide = HeadScores(torch.zeros(12, 12), n=4, measure="copying", definition="olsson", provenance={"model": "gpt2"})
    assert viz.heads(wide).layout.title.text == "Copying (olsson), gpt2, n = 4"
    assert viz.heads(wide, title="Mine").layout.title.text == "Mine"
    assert viz.heads(wide, title="").layout.margin.t < viz.heads(wide).layout.margin.t


def test_a_long_title_is_broken_to_fit() -> None:
    named = HeadScores(
        torch.zeros(30, 9), n=100, measure="copying", provenance={"model": "SmolLM2-135M-Instruct, Q4_1"}
    )
    layout = viz.heads(named).layout
    lines = layout.title.text.split("<br>")
    assert len(lines) > 1
    assert max(map(len, lines)) * 8 <= layout.width
    assert layout.margin.t > viz.heads(named, title="short").layout.margin.t


def test_names_are_not_read_as_html() -> None:
    bad = HeadScores([[1]], measure="<b>x", extras={"<i>": [[1]]}, provenance={"model": "<a href='x'>"})
    figure = viz.heads(bad)
    assert "&lt;a href" in figure.layout.title.text
    hover = figure.data[0].hovertext[0][0].split("<br>")
    assert (hover[1], hover[4]) == ("&lt;b&gt;x", "&lt;i&gt;: 1.000")


def test_drawing_changes_nothing_and_the_figure_is_json() -> None:
    given = scores()
    figure = viz.heads(given)
    json.loads(figure.to_json(), parse_constant=pytest.fail)
    torch.testing.assert_close(given.values, VALUES, equal_nan=True)


def test_layers_without_heads_do_not_count() -> None:
    values = torch.rand(4, 3)
    values[[1, 2]] = torch.nan
    hover = viz.heads(HeadScores(values)).data[0].hovertext
    assert "of 6" in hover[0][0]
    assert "rank n/a of 6" in hover[1][0]
