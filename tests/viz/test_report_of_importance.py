"""The report's sections on what tasks need, as a file: sentences, tables, figures and size."""

import json
import re
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.pages import stored_numbers, text_of, unpacked
from support.synthetic_runs import HOSTILE, accuracy, add_importance

from headcount import viz
from headcount.results import HeadScores, LayerScores, Run, Setting, create_run
from headcount.viz.contents import read_contents
from headcount.viz.html_report.page import FOLDED
from headcount.viz.html_report.sections import importance

MEASURES_HEADS = "headcount importance --task piqa --shots 0 --out DIR"
MEASURES_FFNS = "headcount ffn --task piqa --shots 0 --out DIR"
NO_VERDICT = "No verdict: not above chance."


def part(source: str, choice: str) -> str:
    """Return the text of one choice."""
    return text_of(re.search(rf'data-choice="{re.escape(choice)}".*?>(.*?)</details>', source, flags=re.DOTALL)[1])


@pytest.fixture(scope="module")
def source(needs_run: Run, tmp_path_factory: pytest.TempPathFactory) -> str:
    return viz.report(needs_run, tmp_path_factory.mktemp("report") / "report.html").read_text()


@pytest.fixture
def empty(tmp_path: Path) -> Run:
    return create_run(tmp_path / "run", model={"name": "tiny"})


def test_the_first_screen_names_the_most_important_heads(source: str) -> None:
    text = text_of(source)
    assert "L2H1 is the only induction head among 270 heads, " in text
    assert re.search(r"Induction heads are not the important ones: [01] of the 10 most important heads", text)
    assert "(0.0 by chance)" in text
    assert "Not everything was measured" not in text
    assert "What in-context learning needs in SmolLM2" in text


def test_tasks_stand_with_their_verdicts(source: str) -> None:
    text = text_of(source)
    assert "piqa 0 0.640 ± 0.034 0.500 n/a 200 0 0 0 above chance" in text
    assert "wic 5 0.505 ± 0.035 0.500 n/a 200 0 0 0 no verdict: not above chance" in text


def test_important_heads_stand_beside_their_scores_as_induction_heads(needs_run: Run, source: str) -> None:
    contents = read_contents(needs_run)
    scores, prefix = contents.heads[Setting("piqa", 0)], contents.maps["prefix_matching"]
    rows = importance.head_rows(contents.heads, contents.maps)[Setting("piqa", 0)]
    assert importance.head_columns(scores, contents.maps) == [
        *("rank", "head", "importance"),
        *("prefix matching", "rank", "copying", "rank"),
    ]
    assert [row[0] for row in rows] == [str(rank) for rank in range(1, 11)]
    assert [row[1] for row in rows] == [scores.label(layer, head) for layer, head, _ in scores.top(10)]
    assert rows[0][:3] == ["1", "L3H1", "1.50e-3 ± 0.15e-3"]
    assert rows[0][3].startswith(f"{prefix.values[3, 1]:.4f} ± ")
    assert rows[0][4] == str(1 + int((prefix.values > prefix.values[3, 1]).sum()))
    assert " ".join(rows[9]) in part(source, "heads/piqa.0shot")


def test_without_induction_maps_the_heads_stand_alone() -> None:
    setting = Setting("piqa", 0)
    heads = {setting: HeadScores([[0.5, float("nan")]])}
    assert importance.head_rows(heads, {}) == {setting: [["1", "L0H0", "0.500"]]}
    ranked = HeadScores([[1.0]], definition="rank-mean over tasks: gradient, token")
    assert importance.head_columns(ranked, {}) == ["rank", "head", "mean rank"]
    unknown = {"copying": HeadScores([[float("nan"), 1.0]])}
    assert importance.head_rows(heads, unknown)[setting][0][3:] == ["n/a", "n/a"]


def test_each_layer_stands_with_both_drops(needs_run: Run, source: str) -> None:
    scores = needs_run["importance/ffns/piqa.0shot"]
    rows = importance.ffn_rows(scores)
    assert importance.ffn_columns(scores) == [
        *("layer", "drop in accuracy"),
        "drop of gold log-probability, nats",
    ]
    assert (len(rows), rows[1][0], rows[1][2:]) == (30, "1", ["1.250"])
    text = part(source, "ffns/piqa.0shot")
    assert "n = 200 documents; accuracy of the whole model 0.640" in text
    assert " ".join(rows[29]) in text


def test_mean_ranks_are_not_taken_for_drops(source: str) -> None:
    text = part(source, "ffns/rank-mean.0shot")
    assert "Mean rank: 1 for the highest in every task, 0 for the lowest. Each layer's FFN" in text
    assert "layer mean rank 0 " in text
    assert "Mean rank: 1 for" in part(source, "heads/rank-mean.0shot")
    assert "Mean rank: 1 for" not in part(source, "heads/mean.0shot")


def test_what_is_at_chance_says_so_where_its_importance_stands(source: str) -> None:
    for kind in ("heads", "ffns"):
        assert NO_VERDICT in part(source, f"{kind}/wic.0shot")
        assert NO_VERDICT not in part(source, f"{kind}/piqa.0shot")
        assert "No verdict for wic: not above chance." in part(source, f"{kind}/mean.0shot")


def test_the_figures_inside_hold_scores_and_errors_but_no_texts(needs_run: Run, source: str) -> None:
    data = json.loads(unpacked(re.search(r'id="data">(.*?)</script>', source)[1]))
    heat = data["figures"]["heads/piqa.0shot"]["data"][0]
    scores = needs_run["importance/heads/piqa.0shot"]
    np.testing.assert_array_equal(stored_numbers(source, heat["meta"].pop("values")).reshape(30, 9), scores.values)
    errors = stored_numbers(source, heat["meta"].pop("errors")).reshape(30, 9)
    np.testing.assert_array_equal(errors, scores.stderr)
    meta = {"title": "Head importance", "n": 100, "layers": 30, "small": True, "share": False, "extras": {}}
    assert heat["meta"] == meta
    assert "hovertext" not in heat
    assert not data["figures"]["heads/rank-mean.0shot"]["data"][0]["meta"]["small"]
    assert len(data["figures"]["ffns/mean.5shot"]["data"][0]["x"]["bdata"]) > 0


def test_provenance_is_folded_where_there_is_much_of_it(needs_run: Run, source: str) -> None:
    assert source.count('<details class="own">') == len(needs_run) > FOLDED
    text = text_of(source)
    for name in needs_run:
        assert name in text


def test_a_run_of_importance_alone_says_which_commands_add_the_rest(empty: Run, tmp_path: Path) -> None:
    add_importance(empty, 4, 3, tasks=["piqa"], shots=[0])
    for mean in ("heads/mean", "heads/rank-mean", "ffns/mean", "ffns/rank-mean"):
        (empty.folder / f"importance/{mean}.0shot.safetensors").unlink()
    text = text_of(viz.report(empty, tmp_path / "report.html").read_text())
    assert "What in-context learning needs in tiny" in text
    assert "4 layers of 3 heads" in text
    assert "Tasks need L3H1 most (piqa, 0 shots). Which heads are induction heads was not measured." in text
    assert "among the" not in text
    assert "the tokens were random" not in text
    assert text.count("headcount induction --out DIR") == 8
    assert MEASURES_HEADS not in text


def test_a_run_without_importance_says_which_commands_add_it(small_run: Run, tmp_path: Path) -> None:
    text = text_of(viz.report(small_run, tmp_path / "report.html").read_text())
    assert f"Not in this run: the accuracy on tasks. {MEASURES_HEADS} measures" in text
    assert f"Not in this run: the importance of heads. {MEASURES_HEADS} measures" in text
    assert f"Not in this run: the importance of feed-forward networks. {MEASURES_FFNS} measures" in text
    assert "Induction heads of SmolLM2" in text


@pytest.mark.parametrize("present", ["importance/heads", "importance/ffns", "accuracy"])
def test_any_part_alone_gives_a_report(needs_run: Run, empty: Run, tmp_path: Path, present: str) -> None:
    for name in needs_run:
        if name.startswith(present):
            empty.save(name, needs_run[name])
    text = text_of(viz.report(empty, tmp_path / "report.html").read_text())
    assert (MEASURES_FFNS in text) == (present != "importance/ffns")
    assert (NO_VERDICT in text) is False, "without the accuracy nothing is known of chance"


def test_a_single_document_and_scores_without_errors_are_shown(empty: Run, tmp_path: Path) -> None:
    nan = float("nan")
    empty.save("accuracy/a.0shot", accuracy(1, 1, cut=1))
    empty.save("importance/heads/a.0shot", HeadScores([[nan, 2e-4]], measure="head_importance"))
    empty.save("importance/heads/b.0shot", HeadScores([[nan, nan]], measure="head_importance"))
    empty.save("importance/ffns/a.0shot", LayerScores([nan], provenance={"accuracy": "a lot"}))
    source = viz.report(empty, tmp_path / "report.html").read_text()
    assert "a 0 1.000 0.500 n/a 1 1 0 0 no verdict: not above chance" in text_of(source)
    assert "1 L0H1 2.00e-4 " in part(source, "heads/a.0shot")
    assert part(source, "ffns/a.0shot").endswith(" 0 n/a ")
    assert "whole model" not in source


def test_names_are_never_markup(needs_run: Run, empty: Run, tmp_path: Path) -> None:
    provenance = {"tasks": [HOSTILE], HOSTILE: HOSTILE, "accuracy": HOSTILE}
    scores = HeadScores([[1e-4]], measure=HOSTILE, definition=HOSTILE, provenance=provenance)
    empty.save("importance/heads/mean.0shot", scores)
    empty.save(
        "importance/ffns/mean.0shot", LayerScores([1], measure=HOSTILE, extras={HOSTILE: [1]}, provenance=provenance)
    )
    source = viz.report(empty, tmp_path / "report.html").read_text()
    assert source.count("<script") == 6
    assert "<img" not in source


def test_sixteen_tasks_on_the_largest_model_stay_below_five_megabytes(runs: Callable[..., Run], tmp_path: Path) -> None:
    tasks = [f"task_{index}" for index in range(16)]
    run = add_importance(runs(64, 72, name="facebook/opt-66b"), 64, 72, tasks, shots=(0, 1, 5))
    before = time.perf_counter()
    page = viz.report(run, tmp_path / "report.html")
    assert page.stat().st_size < 5e6
    assert time.perf_counter() - before < 30, "a quiet machine needs a tenth of this"
