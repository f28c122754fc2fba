"""Figures of what a study adds, and the sections that show them: tested on the figures' data."""

import math
from dataclasses import replace

import pytest
import torch
from support.synthetic_runs import HOSTILE, make_run
from support.synthetic_studies import set_effects as synthetic_effects

from headcount.results import (
    Capacity,
    CorrelationMatrix,
    HeadScores,
    InputError,
    LayerScores,
    PruningCurve,
    PruningGrid,
    Table,
)
from headcount.viz import (
    at_depths,
    by_layer,
    capacity_retained,
    compare,
    ffn_importance,
    heads,
    number_format,
    pruning_curve,
    pruning_grid,
    rank_correlation,
    report,
    set_effects,
    shots,
)
from headcount.viz.html_report.page import study_sections
from headcount.viz.html_report.sections.causes import head_verdicts
from headcount.viz.style.theme import NEUTRAL, SERIES, THEMES

N = 50


def first(*right):
    """Return answers with so many of the first documents right, at each step."""
    return torch.stack([(torch.arange(N) < count).float() for count in right])


def curve(*right, component="heads", seeds=(0,), **more):
    correct = torch.stack(
        [torch.stack([(torch.arange(N) < count - 2 * seed).float() for count in right]) for seed in seeds]
    )
    percents = tuple(30.0 * step for step in range(len(right)))
    counts = tuple(9 * step for step in range(len(right)))
    order = torch.arange(30).repeat(len(seeds), 1)
    numbers = {"chance": 0.25, "majority": math.nan, "provenance": {"task": "piqa"}} | more
    log_p = -torch.rand(len(seeds), len(right), N)
    return PruningCurve(
        component, "static", percents, counts, counts, seeds, order, correct, log_p, torch.zeros_like(log_p), **numbers
    )


def grid(**more):
    correct = torch.stack(
        [torch.stack([(torch.arange(N) < count).float() for count in row]) for row in ((40, 39), (35, 15))]
    )
    numbers = {"chance": 0.25, "majority": math.nan, "provenance": {"task": "piqa"}} | more
    return PruningGrid((0, 20), (0, 50), ((0, 5), (3, 8)), correct, correct, correct, **numbers)


def correlations(*names):
    rows = [
        {"a": a, "b": b, "rho": 0.5, "low": 0.4, "high": 0.6, "null_mean": 0.1, "null_low": 0.0, "null_high": 0.2,
         "p_value": 1e-3, "n": 270, "variant": variant, "within": within}
        for variant, within in (("spearman", None), ("spearman", "layer"), ("argsort", None))
        for place, a in enumerate(names)
        for b in names[place + 1 :]
    ]  # fmt: skip
    return Table.of(rows)


CAPACITY = Table.of(
    [
        {"removed": at, "retained": 100.0 - at, "low": 99.0 - at, "high": 101.0 - at, "null_mean": 90.0 - at,
         "null_low": 80.0 - at, "null_high": 95.0 - at}
        for at in (0, 50, 100)
    ]
)  # fmt: skip


def test_a_curve_has_its_values_and_a_band_of_one_standard_error():
    result = curve(40, 38, 20)
    figure = pruning_curve(result)
    band, line = figure.data
    assert list(line.x) == [0, 30, 60]
    assert list(line.y) == pytest.approx([0.8, 0.76, 0.4])
    assert band.y[0] == pytest.approx(0.8 + float(result.stderr[0]))
    assert band.y[-1] == pytest.approx(0.8 - float(result.stderr[0]))
    assert "18 heads" in line.hovertext[2]
    (chance,) = figure.layout.shapes  # a majority of NaN is no line
    assert chance.y0 == 0.25
    assert "piqa" in figure.layout.title.text


def test_random_orders_show_their_spread_where_it_is_larger():
    result = curve(40, 30, seeds=(0, 5, 10))
    band, line = pruning_curve({"random": result}).data
    assert line.y[0] == pytest.approx(float(result.value[0]))
    assert band.y[0] - line.y[0] == pytest.approx(float(result.spread[0]))
    assert float(result.spread[0]) > float(result.stderr[0])


@pytest.mark.parametrize(("value", "first"), [("drop", 0.0), ("log_p", 0.0)])
def test_drops_begin_at_zero(value, first):
    line = pruning_curve(curve(40, 20), value=value).data[1]
    assert line.y[0] == first
    assert len(pruning_curve(curve(40, 20), value=value).layout.shapes) == 0


def test_a_grid_writes_accuracy_into_its_cells_and_marks_what_lies_below():
    (heatmap,) = pruning_grid(grid()).data
    assert [float(value) for value in heatmap.z.flatten()] == pytest.approx([0.8, 0.78, 0.7, 0.3])
    assert [list(row) for row in heatmap.text] == [["0.80", "0.78"], ["0.70*", "0.30*"]]
    assert "20 % of FFNs and 50 % of heads" in heatmap.hovertext[1][1]


def test_a_grid_without_differences_has_a_scale_to_read():
    same = PruningGrid((0,), (0, 50), ((0, 5),), *[torch.zeros(1, 2, N)] * 3, 0.0, math.nan)
    (heatmap,) = pruning_grid(same).data
    assert (heatmap.zmin, heatmap.zmax) == (0, 0.05)


def test_random_orders_are_grey_and_say_what_their_band_is():
    rows = {"own": curve(40, 30), "random": replace(curve(40, 20, seeds=(0, 1)), strategy="random")}
    _, own, _, random = pruning_curve(rows).data
    assert (own.name, random.name) == ("own", "random (2, band of their spread)")
    assert (own.line.color, random.line.color) == (SERIES[0], NEUTRAL)
    assert own.marker.symbol != random.marker.symbol  # where both coincide, two can be told


def test_chance_and_majority_at_one_level_share_a_line():
    figure = pruning_curve(curve(40, 20, majority=0.25))
    assert [note.text for note in figure.layout.annotations] == ["chance and majority"]
    figure = pruning_curve(curve(40, 20, majority=0.5))
    assert [note.text for note in figure.layout.annotations] == ["chance", "majority"]
    assert [line.y0 for line in figure.layout.shapes] == [0.25, 0.5]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_colours_of_correlations_are_the_themes(theme):
    rows = [row for row in correlations("a", "b").records() if not row["within"] and row["variant"] == "spearman"]
    figure = rank_correlation(rows, theme=theme)
    assert figure.data[0].autocolorscale
    scale = figure.layout.template.layout.colorscale.diverging
    assert [stop[1] for stop in scale] == [stop[1] for stop in THEMES[theme].diverging]


def test_a_matrix_has_the_hover_texts_of_a_study_s_rows():
    tables = [((1.0, value), (value, 1.0)) for value in (0.5, 0.001, 0.4, 0.6, 0.1, 0.0, 0.2, 0.01, 0.9)]
    (heatmap,) = rank_correlation(CorrelationMatrix(("a", "b"), *tables, n=270)).data
    (rows,) = rank_correlation(correlations("a", "b").records()[:1]).data
    assert heatmap.hovertext[0][1].split("<br>")[1:] == rows.hovertext[0][1].split("<br>")[1:]
    assert "layers alone: 0.000 to 0.200<br>p = 1.0e-03" in rows.hovertext[0][1]


def test_shares_of_layers_are_in_percent():
    rows = [{"layer": layer, "share": share} for layer, share in enumerate((0.25, 0.75, None))]
    (line,) = by_layer({"copying": Table.of(rows)}).data
    assert list(line.y)[:2] == [25, 75]
    assert math.isnan(line.y[2])
    assert line.hovertext[1:] == ("copying<br>layer 1<br>75.0 % of the sum", "copying<br>layer 2<br>n/a % of the sum")
    assert by_layer(Table.of(rows)).layout.shapes[0].y0 == pytest.approx(100 / 3)


def test_scores_are_compared_head_by_head():
    a, b = HeadScores([[0.1, 0.9], [0.5, math.nan]], measure="copying"), HeadScores([[3.0, 1.0], [2.0, 4.0]])
    (points,) = compare(a, b).data
    assert list(points.x) == pytest.approx([0.1, 0.9, 0.5])
    assert list(points.y) == [3, 1, 2]
    assert points.hovertext[2].startswith("<b>L1H0</b><br>Copying: 0.500")
    ranked = compare(a, b, ranks=True)
    assert list(ranked.data[0].x) == [3, 1, 2]
    assert list(ranked.data[0].y) == [2, 4, 3]  # of all that b scores
    assert ranked.layout.xaxis.autorange == "reversed"


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0"), (999, "999"), (49_200, "49.2 k"), (3_539_000, "3.54 M"), (15.7e9, "15.7 B")]
)
def test_amounts_have_three_digits(count, text):
    assert number_format.amount(count) == text


def test_a_map_of_correlations_is_symmetric_with_an_empty_diagonal():
    rows = [row for row in correlations("a", "b", "c").records() if row["variant"] == "spearman" and not row["within"]]
    (heatmap,) = rank_correlation(rows, order=["c", "a", "b"]).data
    assert list(heatmap.x) == ["c", "a", "b"]
    assert [[value == value for value in row] for row in heatmap.z] == [[i != j for j in range(3)] for i in range(3)]
    assert "0.400 to 0.600" in heatmap.hovertext[0][1]
    with pytest.raises(InputError, match="differ in d"):
        rank_correlation(rows, order=["a", "b", "c", "d"])


def test_capacity_falls_and_a_single_one_has_its_null():
    names = [trace.name for trace in capacity_retained(CAPACITY).data]
    assert names == [None, "random within layers", None, "by importance"]
    assert list(capacity_retained(CAPACITY).data[-1].y) == [100, 50, 0]
    several = capacity_retained({"one": CAPACITY, "two": Capacity(*[(100.0, 50.0, 0.0)] * 6)})
    assert [trace.name for trace in several.data] == [None, "one", None, "two"]


def test_shots_have_intervals_and_a_mean():
    rows = [
        {"task": task, "shots_a": 0, "shots_b": 5, "rho": rho, "low": rho - 0.1, "high": rho + 0.2}
        for task, rho in (("a", 0.2), ("b", 0.4))
    ]
    figure = shots(Table.of(rows))
    (points,) = figure.data
    assert list(points.error_y.array) == pytest.approx([0.2, 0.2])
    assert figure.layout.shapes[0].y0 == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: pruning_curve({}), "at least one, got none"),
        (lambda: pruning_curve({"x": 3}), "expected PruningCurve for 'x', got int"),
        (lambda: pruning_curve(curve(1, 2), value="loss"), "value: expected one of accuracy, drop, log_p"),
        (lambda: pruning_curve({"a": curve(1, 2), "b": curve(1, 2, component="ffns")}), "one kind of part"),
        (lambda: pruning_curve(curve(1, 2), theme="pink"), "pink"),
        (lambda: pruning_grid(curve(1, 2)), "expected PruningGrid, got PruningCurve"),
        (lambda: capacity_retained({}), "at least one"),
        (lambda: capacity_retained(Table.of([{"removed": 1}])), "expected a Capacity, or a Table with removed"),
        (lambda: rank_correlation(Table.of([])), "got none"),
        (lambda: rank_correlation([{"a": "x"}]), "got no b"),
        (lambda: shots(Table.of([{"task": "x"}])), "got no shots_a"),
        (lambda: by_layer({}), "at least one, got none"),
        (lambda: by_layer(Table.of([])), "expected a Table with layer and share"),
        (lambda: by_layer(Table(("layer", "share"), ())), "expected rows, got none"),
        (lambda: compare(HeadScores(torch.zeros(2, 2)), 3), "b: expected HeadScores, got int"),
        (lambda: compare(HeadScores(torch.zeros(2, 2)), HeadScores(torch.zeros(2, 3))), r"\[2, 2\] and \[2, 3\]"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_every_figure_shows_names_as_they_are():
    scores = HeadScores(
        [[0.5, 0.25]], measure=HOSTILE, extras={HOSTILE: torch.zeros(1, 2)}, provenance={"task": HOSTILE}
    )
    drops = LayerScores([1.0], measure=HOSTILE, extras={HOSTILE: torch.zeros(1)}, provenance={"task": HOSTILE})
    row = {"task": HOSTILE, "shots_a": 0, "shots_b": 5, "rho": 0.2, "low": 0.1, "high": 0.3}
    layers = Table.of([{"layer": 0, "share": 1.0}])
    figures = [
        heads(scores), compare(scores, scores), ffn_importance(drops), at_depths({HOSTILE: scores}),
        pruning_curve({HOSTILE: curve(40, 30)}), capacity_retained({HOSTILE: CAPACITY, "b": CAPACITY}),
        rank_correlation(correlations(HOSTILE, "b").records()[:1]), shots(Table.of([row])), by_layer({HOSTILE: layers}),
    ]  # fmt: skip
    for figure in figures:
        text = str(figure.to_dict())
        assert "&lt;/script&gt;" in text
        assert "&quot;" not in text
        assert "&#x27;" not in text


@pytest.fixture
def studied(tmp_path):
    run = make_run(tmp_path / "run", 4, 3)
    run.save("pruning/heads/piqa.0shot.own", curve(40, 38, 20))
    run.save("pruning/heads/piqa.0shot.random", curve(40, 20, 10, seeds=(0, 1)))
    run.save("pruning/ffns/wic.5shot.own", curve(14, 12, 10, component="ffns"))
    run.save("pruning/grid/piqa.0shot", grid())
    run.save("analyses/heads/correlations.0shot", correlations("piqa", "wic", "mean"))
    run.save("analyses/capacity/copying.piqa.0shot", CAPACITY)
    claim = {"claim": HOSTILE, "criterion": "c", "verdict": "holds", "evidence": "e", "published": "p", "source": "s"}
    run.save("analyses/claims", Table.of([claim]))
    return run


def test_sections_have_a_view_for_each_setting_and_part(studied):
    sections = {section.key: section for section in study_sections(dict(studied))}
    assert set(sections) == {"pruning", "grid", "correlations", "capacity"}
    views = sections["pruning"].views
    assert [view.title for view in views] == ["piqa, 0 shots: heads", "wic, 5 shots: FFNs"]
    assert (views[0].note, views[1].note != "") == ("", True)  # 14 of 50 at a chance of 1/4
    assert views[0].columns[-1] == "by random orders (2, ± spread)"
    assert [row[0] for row in views[0].rows] == ["0", "30", "60"]
    assert [view.title for view in sections["correlations"].views] == [
        "heads, 0 shots",
        "heads, 0 shots (ranks within layers)",
        "heads, 0 shots (argsort, as the published code computes it)",
    ]


def test_choosing_in_the_browser_shows_another_figure_and_hostile_text_stays_text(studied, tmp_path, browser):
    page = browser.new_page()
    errors = []
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(report(studied, tmp_path / "report.html").as_uri())
    page.wait_for_selector("html[data-ready]")
    page.evaluate("everything()")
    assert HOSTILE in page.locator("#claims tbody th").inner_text()
    assert page.evaluate("window.hit") is None
    plot = page.locator("#pruning .plot")
    assert plot.get_attribute("data-figure") == "pruning/0"
    page.select_option("#choose-pruning", "pruning/1")
    assert plot.get_attribute("data-figure") == "pruning/1"
    assert page.locator("#pruning .choice:visible .note").inner_text().startswith("No verdict: not above chance")
    assert page.evaluate("document.querySelector('#pruning .plot').data[1].x.length") == 3
    assert errors == []
    page.close()


def test_a_run_without_a_study_says_in_one_line_what_would_add_it(tmp_path):
    run = make_run(tmp_path / "run", 4, 3)
    text = report(run, tmp_path / "report.html").read_text(encoding="utf-8")
    assert text.count("headcount study --preset quick") == 3  # two of the five answers need one, too
    assert 'id="claims"' not in text


def test_heads_scores_are_no_curve():
    with pytest.raises(InputError, match="got HeadScores"):
        pruning_curve(HeadScores(torch.zeros(2, 2)))


class TestCauses:
    def test_a_line_a_kind_over_the_band_of_random_sets(self):
        effects = synthetic_effects(6, 5)
        figure = set_effects(effects, measure="log_p")
        band, *lines = figure.data
        frame = effects.to_frame()
        frame = frame[frame["measure"] == "log_p"]
        plain = frame[~frame["without_others"]]
        for place, percent in enumerate((2.0, 5.0, 10.0, 20.0), start=1):
            rows = plain[plain["percent"] == percent]
            middle, reach = rows["random"].mean(), math.sqrt((rows["random_spread"] ** 2).mean())
            assert band["y"][place] == pytest.approx(middle + reach)
            assert band["y"][-1 - place] == pytest.approx(middle - reach)
        assert [line["name"] for line in lines] == [
            "heads of highest importance",
            "heads of highest importance, not of other kinds",
            "induction heads",
            "induction heads, not of other kinds",
        ]
        assert [line["line"]["dash"] for line in lines] == ["solid", "dot"] * 2
        assert [line["visible"] for line in lines] == [True, "legendonly"] * 2
        for line in lines:
            assert line["x"][0] == 0
            assert line["y"][0] == pytest.approx(float(effects.whole_gold_log_p.mean()))
        assert "beyond random heads: " in lines[0]["hovertext"][1]

    def test_several_tasks_are_shown_in_their_mean_first(self):
        effects = synthetic_effects(6, 5)
        worse = replace(effects, whole_greedy=torch.zeros(effects.n))
        results = {"causes/mean/antonym.5shot": effects, "causes/mean/plural.5shot": worse}
        (section,) = study_sections(results)
        mean, *tasks = section.views
        assert mean.title == "mean over 2 tasks, 5 shots: mean ablation"
        assert [view.title for view in tasks] == ["antonym, 5 shots: mean ablation", "plural, 5 shots: mean ablation"]
        assert mean.figure.data[1]["y"][0] == pytest.approx(float(effects.whole_greedy.mean()) / 2)
        assert "80, 2 tasks" in mean.figure.data[1]["hovertext"][1]

    def test_bad_input_is_refused(self):
        with pytest.raises(InputError, match="expected SetEffects, or several by task, got dict"):
            set_effects({})
        with pytest.raises(InputError, match="expected one of exact_match, accuracy, log_p, got 'drop'"):
            set_effects(synthetic_effects(6, 5), measure="drop")

    def test_the_section_has_a_row_a_set_and_one_a_verdict(self):
        effects = synthetic_effects(6, 5)
        verdicts = Table.of(
            [
                {"kind": "induction", "layer": 5, "head": 1, "score": 0.9, "verdict": "correlate"}
                | {
                    f"{name}{end}": 0.25
                    for name in ("alone", "beyond", "within")
                    for end in ("", "_low", "_high", "_p")
                }
            ]
        )
        results = {"causes/mean/antonym.5shot": effects, "verdicts/mean/antonym.5shot": verdicts}
        sets, heads_ = study_sections(results)
        (view,) = sets.views
        assert view.title == "antonym, 5 shots: mean ablation"
        assert len(view.rows) == len(effects.kinds)
        assert view.rows[0][:3] == ["heads of highest importance", "2", "1"]
        assert view.rows[1][0] == "heads of highest importance, not of others"
        value, beyond = effects.value("accuracy"), effects.beyond_random("accuracy")
        assert view.rows[0][5].startswith(f"{float(value.mean[0]):.2f}")
        assert view.rows[0][6].startswith(f"{float(beyond.mean[0]):.2f}"[:4])
        assert head_verdicts(results) == {"L5H1": "Verdict: correlate in antonym.5shot (mean ablation)."}
        (row,) = heads_.views[0].rows
        assert row == ["induction heads", "L5H1", "0.900", "correlate", *["0.250 (0.250 to 0.250)"] * 3]
