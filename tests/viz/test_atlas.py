"""The head atlas drawn: any two scores with their maps, and the report's sections."""

import numpy as np
import pytest
import torch

from headcount import viz
from headcount.results import HeadAtlas, HeadScores, InputError, TextExamples, create_run
from headcount.viz.figures.atlas.scores import all_scores
from headcount.viz.html_report.page import study_sections
from headcount.viz.html_report.sections.atlas import example_text

NAMES = ("previous_token", "induction")


def scores(seed: int) -> HeadScores:
    values = torch.rand(3, 4, generator=torch.Generator().manual_seed(seed))
    values[2, 1] = torch.nan
    return HeadScores(
        values, variance=torch.full((3, 4), 0.04), n=4, measure=NAMES[seed % 2], definition="as <defined>"
    )


@pytest.fixture(scope="module")
def atlas() -> HeadAtlas:
    parts = {
        f"{prefix}{name}": scores(2 * place + number)
        for place, prefix in enumerate(("", "on_text/", "control/", "control/on_text/"))
        for number, name in enumerate(NAMES)
    }
    place = torch.zeros(2, 4, 3, 4)
    keys, weights = torch.zeros(2, 4, 3, 4, 1), torch.full((2, 4, 3, 4, 1), 0.75)
    examples = TextExamples(NAMES, place, place + 0.5, place + 1, keys, weights, ("a", " <b>\n"), [[0, 1]])
    return HeadAtlas(parts, examples, {"model": "toy"})


def test_the_figure_has_a_point_and_a_cell_in_each_map_for_every_head(atlas):
    figure = viz.atlas(atlas, x="induction", y="on_text/previous_token", theme="dark")
    scatter, first, second = figure.data[:3]
    expected = [atlas.induction.values, atlas.on_text.previous_token.values]
    for numbers, values in ((scatter.x, expected[0]), (scatter.y, expected[1])):
        torch.testing.assert_close(torch.tensor(numbers).float(), values.flatten(), atol=1e-4, rtol=0, equal_nan=True)
    for trace, values in ((first, expected[0]), (second, expected[1])):
        torch.testing.assert_close(torch.tensor(trace.z).float(), values, atol=1e-4, rtol=0, equal_nan=True)
    assert list(scatter.customdata[:5]) == ["L0H0", "L0H1", "L0H2", "L0H3", "L1H0"]
    assert figure.layout.xaxis.title.text == figure.layout.xaxis2.title.text == "Induction"
    assert figure.layout.yaxis.title.text == figure.layout.xaxis3.title.text == "Previous token, on text"
    assert figure.layout.title.text == "Every head of toy, by two scores"


def test_each_list_changes_one_axis_and_its_map_to_any_score(atlas):
    figure = viz.atlas(atlas)
    every = all_scores(atlas)
    assert list(every) == [*NAMES, *(f"on_text/{name}" for name in NAMES)]
    for menu, axis, trace in zip(figure.layout.updatemenus, "xy", (1, 2), strict=True):
        assert len(menu.buttons) == len(every)
        for button, part in zip(menu.buttons, every.values(), strict=True):
            data, layout, traces = button.args
            assert list(traces) == [0, trace]
            shown = [torch.from_numpy(np.array(part, float)).float() for part in (data[axis][0], data["z"][1])]
            for numbers, values in zip(shown, (part.values.flatten(), part.values), strict=True):
                torch.testing.assert_close(numbers, values, atol=1e-4, rtol=0, equal_nan=True)
            assert set(layout.values()) == {button.label}
            assert len(layout) == 2


def test_a_saved_figure_marks_a_head_on_a_click(atlas, tmp_path):
    page = viz.atlas(atlas).save(tmp_path / "atlas.html").read_text(encoding="utf-8")
    assert "plotly_click" in page
    assert "{plot_id}" not in page


def test_what_cannot_be_drawn_is_refused(atlas):
    with pytest.raises(InputError, match="one of previous_token, induction, "):
        viz.atlas(atlas, x="copying")
    with pytest.raises(InputError, match="expected a HeadAtlas, got HeadScores"):
        viz.atlas(atlas.induction)


def test_the_report_names_the_highest_heads_of_each_score_and_shows_an_example(atlas, tmp_path):
    highest, by_score = study_sections({"atlas/heads": atlas})[:2]
    assert (highest.key, by_score.key) == ("atlas", "atlas-scores")
    (view,) = highest.views
    assert len(view.rows) == 3 * 4
    layer, head, value = atlas.induction.top(1)[0]
    row = next(row for row in view.rows if row[0] == "Induction")
    assert row[1:4] == [f"L{layer}H{head}", f"{value:.2f} ± 0.10", "4"]
    assert row[4] == f"{atlas.control.induction.values[layer, head]:.3f}"
    assert [view.title for view in by_score.views][1:3] == ["Induction", "Previous token, on text"]
    assert by_score.views[1].rows[0][3] == "a[ <b>⏎] → “a” 0.75"
    assert example_text(atlas.examples.of("induction", 0, 0)[0]) == "a[ <b>⏎] → “a” 0.75"
    run = create_run(tmp_path / "run", model={"name": "toy"})
    run.save("atlas/heads", atlas)
    page = viz.report(run, tmp_path / "report.html").read_text(encoding="utf-8")
    assert '<section id="atlas"' in page
    assert "as &lt;defined&gt;" in page
    assert study_sections({}) == []
