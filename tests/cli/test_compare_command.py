"""The command that compares the results of a run, or several runs."""

import json

import pytest
import torch
from support.headcount_runs import run

from headcount.results import HeadScores, LayerScores, create_run, open_run
from headcount.stats import compare

SIZES = {"n_layers": 4, "n_heads": 5}


def scores(seed, n_layers=4, n_heads=5):
    drawn = torch.rand(10, n_layers, n_heads, generator=torch.Generator().manual_seed(seed))
    drawn += torch.linspace(0, 2, n_layers)[:, None]  # a trend with depth that all share
    return HeadScores(drawn.mean(0), n=10, folds=drawn, measure="head_importance", definition="drawn")


def make(folder, seed=0, **shape):
    made = create_run(folder, model={"name": f"model {seed}", "sizes": SIZES | shape})
    for place, name in enumerate(("piqa.0shot", "copa.0shot", "rte.0shot", "piqa.5shot", "copa.5shot")):
        made.save(f"importance/heads/{name}", scores(10 * seed + place, **shape))
    for place, name in enumerate(("prefix_matching", "copying", "copying_published")):
        made.save(f"induction/{name}", scores(10 * seed + 7 + place, **shape))
    layers = torch.rand(shape.get("n_layers", 4), generator=torch.Generator().manual_seed(seed))
    made.save("importance/ffns/piqa.0shot", LayerScores(layers, n=10, measure="ffn_importance"))
    return made


def compared(capsys, *arguments):
    status, out, err = run(capsys, "compare", *arguments, "--json")
    assert (status, err) == (0, ""), err
    return json.loads(out)


def of_two(rows):
    return [row for row in rows if (row["a"], row["b"]) == ("copa", "piqa")]


def test_one_run_is_compared_across_tasks_shots_and_scores(tmp_path, capsys):
    made = make(tmp_path / "run")
    found = compared(capsys, made.folder)
    a, b = (made[f"importance/heads/{task}.0shot"] for task in ("copa", "piqa"))
    (pair,) = [
        row for row in found["rank correlation of tasks' heads, 0 shots"] if (row["a"], row["b"]) == ("copa", "piqa")
    ]
    assert pair["rho"] == pytest.approx(compare.spearman(a, b, resamples=0).rho)
    assert pair["low"] < pair["rho"] < pair["high"]
    (shared,) = [
        row for row in found["overlap of the highest heads, 0 shots"] if (row["a"], row["b"]) == ("copa", "piqa")
    ]
    assert shared["fraction"] == compare.overlap(a, b, 0.3).fraction
    (across,) = [row for row in found["rank correlation of a task's heads across shots"] if row["task"] == "piqa"]
    assert across["rho"] == pytest.approx(compare.spearman(b, made["importance/heads/piqa.5shot"], resamples=0).rho)
    (left,) = [
        row
        for row in found["percent of an induction score that remains without so many percent of heads"]
        if (row["score"], row["ranking"]) == ("copying", "piqa.0shot")
    ]
    retained = compare.capacity_retained(made["induction/copying"], b)
    assert left["50 %"] == pytest.approx(float(retained[10]), abs=1e-4)
    assert "rank correlation of induction scores and head importance, 5 shots" in found


def test_comparisons_are_stored_and_not_computed_again(tmp_path, capsys):
    folder = make(tmp_path / "run").folder
    compared(capsys, folder)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.*")}
    assert "analyses/heads/correlations.0shot" in open_run(folder)
    compared(capsys, folder)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.*")} == before


def test_two_runs_of_one_shape_are_compared_head_by_head(tmp_path, capsys):
    one, two = make(tmp_path / "one"), make(tmp_path / "two", seed=1)
    (found,) = compared(capsys, one.folder, two.folder).values()
    assert {row["by"] for row in found} == {"head", "layer"}
    rows = {row["score"]: row for row in found}
    a, b = (made["induction/copying"] for made in (one, two))
    assert rows["induction/copying"]["rho"] == pytest.approx(compare.spearman(a, b).rho)
    assert rows["induction/copying"]["overlap"] == compare.overlap(a, b, 0.3).fraction
    assert len(rows) == 9


def test_two_runs_of_different_shapes_are_compared_by_relative_depth(tmp_path, capsys):
    one, two = make(tmp_path / "one"), make(tmp_path / "two", n_layers=8, n_heads=3)
    (found,) = compared(capsys, one.folder, two.folder).values()
    assert {row["by"] for row in found} == {"relative depth"}
    rows = {row["score"]: row for row in found}
    assert rows["importance/heads/piqa.0shot"]["rho"] == pytest.approx(1)  # the trend with depth
    assert rows["importance/heads/piqa.0shot"]["n"] == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("empty",), "has nothing to compare: headcount importance"),
        (("full", "empty"), "have no scores in common"),
        (("full", "nowhere"), "is not a run directory"),
        (("full", "--top", "0"), "--top must be above 0 and at most 1, not 0"),
        (("full", "shallow"), "models of 3 layers or more"),
    ],
)
def test_runs_that_cannot_be_compared_are_refused_in_one_line(tmp_path, capsys, monkeypatch, arguments, message):
    create_run(tmp_path / "empty", model={"name": "m", "sizes": SIZES})
    make(tmp_path / "full")
    make(tmp_path / "shallow", n_layers=2)
    monkeypatch.chdir(tmp_path)
    status, _, err = run(capsys, "compare", *arguments)
    assert (status, err.count("\n")) == (2, 1)
    assert message in err


def test_scores_of_too_few_parts_are_left_out_and_the_others_compared(tmp_path, capsys):
    first, second = (make(tmp_path / name, seed, n_layers=2) for seed, name in enumerate(("a", "b")))
    status, out, err = run(capsys, "compare", first.folder, second.folder, "--json")
    assert status == 0
    assert len(err.splitlines()) == 1
    assert "note: importance/ffns/piqa.0shot is left out: expected at least 3 entries" in err
    ((_, rows),) = json.loads(out).items()
    assert len(rows) == 8
    assert run(capsys, "report", first.folder, second.folder, "--output", tmp_path / "report.html")[0] == 0


def test_tables_show_whole_names(tmp_path, capsys):
    status, out, _ = run(capsys, "compare", make(tmp_path / "run").folder)
    assert status == 0
    assert "rank correlation of tasks' heads, 5 shots" in out
    assert "…" not in out
