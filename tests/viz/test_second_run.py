"""A second run compared with the first in one report: what Python prepares, and what a browser shows of it."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from playwright.sync_api import Page
from support.headcount_runs import run as run_command
from support.pages import click_cell, text_of
from support.synthetic_runs import HOSTILE, add_importance, make_run

from headcount import viz
from headcount.results import HeadScores, InputError, LayerScores, Run, Table, create_run
from headcount.stats import compare
from headcount.study import compare_runs
from headcount.viz.contents import read_contents
from headcount.viz.html_report.sections.provenance import flatten
from headcount.viz.html_report.sections.second_run import RunComparison, comparison_of
from headcount.viz.ranks import ranks as ranks_of

Opened = Callable[[Path], Page]


def changed(run: Run, name: str, seed: int) -> None:
    """Replace a score of a run by other values."""
    scores = run[name]
    random = torch.rand(scores.values.shape, generator=torch.Generator().manual_seed(seed))
    run.set_aside(name)
    run.save(name, replace(scores, values=scores.values / 2 + random * scores.values.max() / 2, variance=None))


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return add_importance(make_run(tmp_path_factory.mktemp("runs") / "first", 8, 5), 8, 5)


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The same model measured again, with other values of two scores."""
    run = add_importance(make_run(tmp_path_factory.mktemp("runs") / "second", 8, 5), 8, 5, shots=(0,))
    changed(run, "induction/prefix_matching", 3)
    changed(run, "importance/heads/piqa.0shot", 4)
    return run


@pytest.fixture(scope="module")
def report(first: Run, second: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("report") / "report.html"
    return viz.report(first, output, against=second.folder, agreement=compare_runs(first, second))


def comparison(first: Run, second: Run, agreement: Table | None = None) -> RunComparison:
    return comparison_of(first, read_contents(first), second, read_contents(second), agreement)


def test_scores_of_both_runs_are_compared_and_folders_name_runs_of_one_model(first: Run, second: Run) -> None:
    pair = comparison(first, second)
    assert (pair.first, pair.second) == ("first", "second")
    heads = [f"heads/{task}.0shot" for task in ("mean", "rank-mean", "piqa", "wic")]
    assert list(pair.maps) == ["prefix_matching", "copying", "copying_published", *heads]
    assert torch.equal(pair.maps["heads/piqa.0shot"].values, second["importance/heads/piqa.0shot"].values)
    assert [view.title for view in pair.depth.views] == [
        f"FFN importance: {task}, 0 shots" for task in ("mean over tasks", "mean rank over tasks", "piqa", "wic")
    ]
    assert pair.agreement == []


def test_the_heads_that_differ_most_come_first(first: Run, second: Run) -> None:
    pair = comparison(first, second)
    rows = pair.differing["prefix_matching"]
    ranks = [ranks_of(run["induction/prefix_matching"]) for run in (first, second)]
    apart = sorted(abs(ranks[0][place] - ranks[1][place]) for place in ranks[0])[::-1]
    assert [abs(int(row[2]) - int(row[4])) for row in rows] == apart[:10]
    assert rows[0][2] == str(ranks[0][tuple(int(part) for part in rows[0][0][1:].split("H"))])
    assert pair.differing_columns == ["head", "first", "rank", "second", "rank"]


def test_the_table_shows_their_agreement(first: Run, second: Run, report: Path) -> None:
    rho = compare.spearman(first["induction/prefix_matching"], second["induction/prefix_matching"])
    assert f"Prefix matching head 40 {rho.rho:.3f} n/a {rho.p_value:.1e}" in text_of(report)
    titles = [row[0] for row in comparison(first, second, compare_runs(first, second)).agreement]
    assert titles[:4] == [
        *("Prefix matching", "Copying", "Copying as published"),
        "Head importance: mean over tasks, 0 shots",
    ]
    with pytest.raises(InputError, match=r"agreement: expected columns score, .* none of the name by"):
        comparison(first, second, Table.of([{"score": "x"}]))


def test_models_of_other_shapes_are_compared_by_depth(first: Run, tmp_path: Path) -> None:
    other = make_run(tmp_path / "other", 4, 3, name="gpt2")
    pair = comparison(first, other)
    assert (pair.first, pair.second) == ("SmolLM2-135M-Instruct, Q4_1 dequantised", "gpt2")
    assert pair.maps == {}
    ours, theirs = pair.depth.views[0].figure.data
    assert [line.name for line in (ours, theirs)] == [pair.first, pair.second]
    assert list(theirs.x) == pytest.approx([0.125, 0.375, 0.625, 0.875])
    sums = other["induction/prefix_matching"].values.sum(1)
    assert list(theirs.y) == pytest.approx((4 * sums / sums.sum()).tolist())
    text = text_of(viz.report(first, tmp_path / "report.html", against=other))
    assert "The models differ in shape" in text
    assert "gpt2, layer 3 0.875" in text


def test_depths_are_those_of_positive_scores() -> None:
    (line,) = viz.at_depths({"a": LayerScores([1.0, -1.0, 3.0, float("nan")])}).data
    assert list(line.y) == [1, 0, 3, 0]
    with pytest.raises(InputError, match="expected at least one, got none"):
        viz.at_depths({})
    with pytest.raises(InputError, match="expected HeadScores or LayerScores, got int"):
        viz.at_depths({"a": 1})


def test_runs_without_a_score_in_common_are_refused(first: Run, tmp_path: Path) -> None:
    empty = create_run(tmp_path / "empty", model={"name": "m"})
    with pytest.raises(InputError, match="have no scores in common: measure the same tasks"):
        viz.report(first, tmp_path / "report.html", against=empty)
    assert not (tmp_path / "report.html").exists()


def test_the_command_takes_a_second_run(first: Run, second: Run, report: Path, tmp_path: Path, capsys) -> None:
    output = tmp_path / "report.html"
    status, out, err = run_command(capsys, "report", first.folder, second.folder, "--output", output)
    assert (status, err) == (0, "")
    assert out.startswith(str(output))
    assert output.read_bytes() == report.read_bytes()
    status, _, err = run_command(capsys, "report", first.folder, tmp_path, "--output", output)
    assert (status, err.count("\n")) == (2, 1)
    assert "is not a run directory" in err


def test_the_provenance_of_both_runs_is_there(second: Run, report: Path) -> None:
    text = text_of(report)
    assert "The second run" in text
    for key, value in flatten(second.manifest):
        assert f"{key} {value} " in text


def parts(page: Page, where: str) -> dict[str, list]:
    """Return the values that a comparison draws: of its three maps, and of the scatter plot."""
    return page.locator(where).evaluate(
        """element => {
            const values = ({ z, x, y }) => z ? z.map((row) => [...row]) : [[...x], [...y]];
            const plots = [...element.querySelectorAll("[data-part]")];
            return Object.fromEntries(plots.map(({ dataset, data }) => [dataset.part, values(data[0])]));
        }"""
    )


def captions(page: Page, where: str) -> list[str]:
    return page.locator(f"{where} figcaption").all_inner_texts()


def test_the_maps_stand_beside_each_other_with_their_difference(
    unfolded: Opened, report: Path, first: Run, second: Run
) -> None:
    page = unfolded(report)
    a, b = (run["induction/prefix_matching"].values for run in (first, second))
    drawn = parts(page, "#against-maps")
    for part, expected in (("first", a), ("second", b), ("difference", a - b), ("scatter", torch.stack((a, b)))):
        values = torch.tensor(drawn[part]).view(expected.shape)
        torch.testing.assert_close(values, expected, atol=1e-6, rtol=0)
    rho = compare.spearman(first["induction/prefix_matching"], second["induction/prefix_matching"]).rho
    assert f"Rank correlation: {rho:.3f}." in captions(page, "#against-maps")[3]
    assert captions(page, "#against-maps")[:3] == [
        "first",
        "second",
        "first minus second: orange is higher in the first, blue in the second.",
    ]


def test_scores_without_a_common_unit_differ_in_rank(unfolded: Opened, report: Path, first: Run, second: Run) -> None:
    page = unfolded(report)
    page.select_option("#choose-against", "heads/piqa.0shot")
    page.locator("#against-maps figcaption", has_text="How much higher a head ranks in first than in second").wait_for()
    name = "importance/heads/piqa.0shot"
    ranks = [ranks_of(run[name]) for run in (first, second)]
    expected = [[100 * (ranks[1][at, head] - ranks[0][at, head]) / 40 for head in range(5)] for at in range(8)]
    torch.testing.assert_close(torch.tensor(parts(page, "#against-maps")["difference"]), torch.tensor(expected))
    rho = compare.spearman(first[name], second[name]).rho
    page.locator("#against-maps figcaption", has_text=f"Rank correlation: {rho:.3f}.").wait_for()
    table = page.locator("#against .choice:visible")
    assert table.locator("summary").inner_text() == "Head importance: piqa, 0 shots"


def test_a_click_opens_the_head_of_the_first_run(unfolded: Opened, report: Path) -> None:
    page = unfolded(report)
    page.select_option("#choose-against", "copying")
    page.locator("#against-maps .js-plotly-plot").nth(2).wait_for()
    click_cell(page, "#against-maps [data-part=second]", 6, 3)
    page.locator("#head-title", has_text="L6H3").wait_for()
    assert page.evaluate("location.hash") == "#m=copying&h=L6H3"


def test_scores_of_one_run_are_compared_in_the_same_way(unfolded: Opened, report: Path, first: Run) -> None:
    page = unfolded(report)
    page.locator("#comparison").select_option("heads/wic.5shot")
    page.locator("#compared figcaption", has_text="Rank correlation").wait_for()
    a, b = first["induction/prefix_matching"], first["importance/heads/wic.5shot"]
    assert f"Rank correlation: {compare.spearman(a, b).rho:.3f}." in captions(page, "#compared")[3]
    ranks = [ranks_of(scores) for scores in (a, b)]
    assert parts(page, "#compared")["difference"][2][1] == pytest.approx(100 * (ranks[1][2, 1] - ranks[0][2, 1]) / 40)


def test_a_score_whose_map_was_drawn_before_can_be_compared(unfolded: Opened, report: Path, first: Run) -> None:
    page = unfolded(report)
    page.locator("#metric").select_option("heads/wic.5shot")
    page.locator("#comparison").select_option("copying")
    a, b = first["importance/heads/wic.5shot"], first["induction/copying"]
    page.locator("#compared figcaption", has_text=f"Rank correlation: {compare.spearman(a, b).rho:.3f}.").wait_for()
    torch.testing.assert_close(torch.tensor(parts(page, "#compared")["second"]), b.values, atol=1e-6, rtol=0)


def test_ties_and_missing_scores_are_ranked_as_python_does(unfolded: Opened, tmp_path: Path) -> None:
    run = create_run(tmp_path / "run", model={"name": HOSTILE})
    a = HeadScores([[1.0, 1.0, float("nan"), 0.0, 0.5, 0.0]], measure="copying")
    b = HeadScores([[0.2, 0.3, 0.9, 0.3, 0.3, float("nan")]], measure="prefix_matching")
    run.save("induction/copying", a)
    run.save("induction/prefix_matching", b)
    page = unfolded(viz.report(run, tmp_path / "report.html"))
    page.locator("#comparison").select_option("copying")
    expected = f"Rank correlation: {compare.spearman(a, b).rho:.3f}."
    page.locator("#compared figcaption", has_text=expected).wait_for()
    drawn = parts(page, "#compared")["difference"][0]
    assert [value is None or value != value for value in drawn] == [False, False, True, False, False, True]


def test_hostile_names_stay_text(unfolded: Opened, first: Run, tmp_path: Path) -> None:
    other = make_run(tmp_path / "other", 8, 5, name=HOSTILE)
    agreement = json.loads(json.dumps(compare_runs(first, other).records()))
    page = unfolded(viz.report(first, tmp_path / "report.html", against=other, agreement=Table.of(agreement)))
    assert page.locator("#against h2").inner_text() == f"Against {HOSTILE}"
    assert captions(page, "#against-maps")[1] == HOSTILE
    axis = page.locator("#against-maps [data-part=scatter] .ytitle").text_content()
    assert axis == f"{HOSTILE[:55]}…"
    assert page.evaluate("window.hit") is None
    assert page.locator("img").count() == 0
