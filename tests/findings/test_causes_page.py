"""The page on causes: its numbers are those of the results, its verdicts follow them, and missing parts are named."""

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch
from support.synthetic_studies import set_effects, verdict_rows

from headcount.results import HeadScores, Table, create_run
from headcount.stats import compare

CAUSES = Path(__file__).parents[2] / "findings" / "causes"
LAYERS, HEADS = 6, 9
MODEL = {"name": "small model, dequantised", "dtype": "bfloat16"}


@pytest.fixture
def make_page(monkeypatch):
    monkeypatch.syspath_prepend(str(CAUSES))
    from make_page import make_page

    return make_page


def areas(ranking, exact_match, gain, verdict):
    row = {"ranking": ranking, "cpr": 0.5, "cmd": 0.6, "fall": 0.3, "fall_stderr": 0.02, "verdict": verdict}
    for measure in ("exact_match", "accuracy", "log_p"):
        row |= {
            measure: exact_match,
            f"{measure}_stderr": 0.02,
            f"{measure}_gain": gain,
            f"{measure}_gain_stderr": 0.01,
        }
    return row


@pytest.fixture
def run(tmp_path):
    """A run in which heads of high importance are needed, and induction heads only go along with them."""
    run = create_run(tmp_path / "small", model=MODEL)
    effects = set_effects(LAYERS, HEADS)
    run.save("verdicts/mean/antonym.1shot", Table.of(verdict_rows(HEADS), n_documents=40))
    for task, seed in (("antonym", 0), ("plural", 1)):
        order = torch.randperm(effects.n, generator=torch.Generator().manual_seed(seed))
        run.save(f"causes/mean/{task}.1shot", replace(effects, greedy=effects.greedy[..., order]))
        rows = [areas("token", 0.4, 0, "fails"), areas("example", 0.5, 0.1, "fails"), areas("gates", 0.6, 0.2, "holds")]
        run.save(f"areas/mean/{task}.1shot", Table.of(rows))
    falls = torch.full((1, LAYERS, HEADS), torch.nan)
    falls[0, :3], falls[0, 1, 4] = 0.01, 0.6
    fed = HeadScores(falls[0], n=8, measure="feeding_heads", provenance={"score": 0.9, "n_sequences": 8})
    run.save("paths/L3H1-key-direct", fed)
    return run


def test_numbers_and_verdicts_are_those_of_the_results(make_page, run, tmp_path):
    text = make_page(tmp_path).read_text()
    effects = {task: run[f"causes/mean/{task}.1shot"] for task in ("antonym", "plural")}
    table = compare.mean_effects(effects).set_index(["kind", "percent", "without_others", "measure"])
    row = table.loc["importance", 2.0, False, "exact_match"]
    lost = f"{row['beyond_random']:.2f} ± {row['beyond_random_stderr']:.2f}"
    over_tasks = f"{row['beyond_random_low']:.2f} to {row['beyond_random_high']:.2f}"
    assert f"| 2 % | importance | 1 | {row['value']:.2f} ± {row['stderr']:.2f} |" in text
    assert f"| {lost} | {over_tasks} | more than random |" in text
    assert "more than random heads: importance (at 2, 5, 10, 20 %) and induction (at 2, 5, 10, 20 %)." in text
    assert "Without the heads of other kinds: importance (at 2, 5, 10, 20 %)." in text
    assert "L3H1 reads its keys from L1H4 more than from any other head (direct path)" in text
    assert "0.60 of its prefix matching of 0.90 goes (67 %)" in text
    assert "That 70 % of heads can go holds in all tasks by gates; fails in all tasks by token and example." in text
    assert "better than the published ranking are example; worse are none" in text
    assert "sets of heads under zero, resample and patch ablation" in text
    assert "headcount causes --model MODEL" in text


def test_other_results_give_other_verdicts(make_page, run, tmp_path):
    for task in ("antonym", "plural"):
        effects = run[f"causes/mean/{task}.1shot"]
        as_random = effects.greedy.clone()
        as_random[:, 0] = effects.greedy[:, 1:].mean(1)  # no set costs more than random ones
        run.save(f"causes/mean/{task}.1shot", replace(effects, greedy=as_random))
    text = make_page(tmp_path).read_text()
    assert "Cost more than random heads: none. Without the heads of other kinds: none." in text
    assert "| more than random |" not in text


def test_tasks_that_the_model_cannot_do_do_not_count_and_are_named(make_page, run, tmp_path):
    effects = run["causes/mean/plural.1shot"]
    run.save("causes/mean/plural.1shot", replace(effects, whole_greedy=torch.zeros(effects.n)))
    text = make_page(tmp_path).read_text()
    assert "Left out, since the whole model's exact match is not above 0: plural.1shot." in text
    assert "ablation, 1 task." in text


def test_the_figure_is_a_picture_with_a_line_a_kind(make_page, run, tmp_path):
    make_page(tmp_path)
    picture = ElementTree.parse(tmp_path / "exact_match.svg")  # noqa: S314 - written just now
    lines = [line for line in picture.iter("{http://www.w3.org/2000/svg}polyline") if line.get("stroke-width") == "2.5"]
    assert len(lines) == 2 + 2 * 2  # the legend, and two panels
    assert len(list(picture.iter("{http://www.w3.org/2000/svg}polygon"))) == 2
    points = [tuple(map(float, point.split(","))) for point in lines[2].get("points").split()]
    assert [x for x, _ in points] == sorted(x for x, _ in points)
    assert points[-1][1] > points[0][1]  # downward on the page: importance falls


def test_missing_parts_are_named_and_an_empty_folder_is_refused(make_page, tmp_path):
    with pytest.raises(SystemExit, match="expected run directories"):
        make_page(tmp_path)
    create_run(tmp_path / "bare", model=MODEL)
    text = make_page(tmp_path).read_text()
    assert "no sets of heads were removed" in text
    assert "no paths were measured" in text
    assert "no rankings were compared" in text
    assert "Not measured yet." in text
    assert not (tmp_path / "exact_match.svg").exists()
    assert MODEL["name"] in text
