"""Kinds of ablation in the commands, in studies, in their plans and in the report."""

import json

import pytest
import torch
from support.headcount_runs import run

from headcount.importance import ffn_importance, head_importance, load_task, prune
from headcount.importance.internal import TaskSetup, ffn_importance_work, with_ablation
from headcount.results import open_run
from headcount.tracing import load_model

MODEL = ("--model", "tiny-opt", "--limit", 4, "--task", "plural", "--shots", 2)
STUDY = """
model = "tiny-opt"
sequences = 2
control = false
examples = 4
ablations = ["mean"]
head_percents = [50]
ffn_percents = [50]
grid_head_percents = [50]
grid_ffn_percents = [50]
rankings = ["own"]

[[tasks]]
names = ["plural", "antonym"]
shots = [2]
limit = 4
grid = true
"""


@pytest.fixture(scope="module")
def model():
    return load_model("tiny-opt")


def test_estimates_by_settings_have_names_of_their_own(model, tmp_path, capsys):
    task, out = load_task("plural"), tmp_path / "run"
    commands = {
        "heads-drop-2steps-mean": ("--reduction", "drop", "--baseline", "mean", "--steps", 2),
        "heads-verified-share50": ("--method", "verified", "--share", 0.5),
    }
    for options in commands.values():
        status, _, err = run(capsys, "importance", *MODEL, "--out", out, *options)
        assert status == 0, err
    results, examples = open_run(out), task.examples(2, 4)
    reference = task.reference(2)
    expected = head_importance(model, examples, reduction="drop", kind="mean", reference=reference, steps=2)
    drop, verified = (results[f"importance/{part}/plural.2shot"] for part in commands)
    assert torch.equal(drop.values, expected.values)
    assert torch.equal(verified.values, head_importance(model, examples, "verified", share=0.5).values)
    assert verified.provenance["share"] == 0.5
    status, text, _ = run(capsys, "importance", *MODEL, "--out", out, "--json", *commands["heads-drop-2steps-mean"])
    assert (status, names_of(text)) == (0, set())
    assert run(capsys, "report", out, "--output", tmp_path / "report.html")[0] == 0
    assert run(capsys, "show", out)[0] == 0


def names_of(out):
    return set(json.loads(out)["measured"])


def test_commands_measure_by_the_kind_and_name_it(model, tmp_path, capsys):
    task, out = load_task("plural"), tmp_path / "run"
    for command, *options in (
        ("importance", "--method", "oracle", "--ablation", "resample"),
        ("ffn", "--ablation", "mean"),
        ("prune", "--ablation", "mean", "--percents", 50),
        ("prune", "--ablation", "patch", "--component", "ffns", "--percents", 50),
    ):
        status, _, err = run(capsys, command, *MODEL, "--out", out, *options)
        assert status == 0, err
    results = open_run(out)
    oracle = results["importance/heads-oracle-resample/plural.2shot"]
    expected = head_importance(model, task.examples(2, 4), "oracle", kind="resample", reference=task.reference(2))
    assert torch.equal(oracle.values, expected.values)
    networks = results["importance/ffns-mean/plural.2shot"]
    assert torch.equal(networks.extras["log_p"], ffn_importance(model, task, 2, 4, kind="mean").extras["log_p"])
    curve = results["pruning/heads-mean/plural.2shot.own"]
    ranking = results["importance/heads/plural.2shot"]
    again = prune(model, task, ranking, percents=[50], kind="mean", shots=2, limit=4)
    assert torch.equal(curve.gold_log_p, again.gold_log_p)
    assert "importance/ffns-patch/plural.2shot" in results
    assert results["pruning/ffns-patch/plural.2shot.own"].provenance["ablation"]["kind"] == "patch"
    status, out_text, _ = run(capsys, "ffn", *MODEL, "--out", out, "--ablation", "mean", "--json")
    assert (status, names_of(out_text)) == (0, set())
    assert run(capsys, "report", out, "--output", tmp_path / "report.html")[0] == 0
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Other ablations" in page
    assert "plural, 2 shots: heads, by the mean over train examples" in page
    assert "plural, 2 shots: FFNs, by values with shuffled answers" in page


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("importance", "--ablation", "mean", "--component", "experts"), "--ablation mean is for heads"),
        (("importance", "--method", "verified", "--component", "experts"), "--method verified is for heads"),
        (("importance", "--steps", "0"), "--steps must be"),
        (("importance", "--method", "verified", "--share", "2"), "--share must be above 0"),
        (("prune", "--ablation", "mean", "--component", "experts"), "experts are removed by zeros"),
    ],
)
def test_what_is_not_ablated_by_a_kind_is_refused(arguments, message, tmp_path, capsys):
    command, *options = arguments
    status, _, err = run(capsys, command, *MODEL, "--out", tmp_path / "run", *options)
    assert status == 2
    assert message in err


def test_patching_without_shots_is_refused(tmp_path, capsys):
    command = ("ffn", "--model", "tiny-opt", "--limit", 4, "--task", "plural", "--ablation", "patch")
    status, _, err = run(capsys, *command, "--out", tmp_path / "run")
    assert status == 2
    assert "have no counterfactual" in err


def test_a_study_adds_the_kinds_to_zeros(tmp_path, capsys):
    (tmp_path / "study.toml").write_text(STUDY)
    command = ("study", tmp_path / "study.toml", "--out", tmp_path / "run")
    status, _, err = run(capsys, *command, "--dry-run", "--json")
    assert status == 0, err
    status, _, err = run(capsys, *command)
    assert status == 0, err
    results = set(open_run(tmp_path / "run"))
    for name in (
        "importance/ffns{}/plural.2shot",
        "importance/ffns{}/mean.2shot",
        "pruning/heads{}/plural.2shot.own",
        "pruning/ffns{}/antonym.2shot.own",
        "pruning/grid{}/antonym.2shot",
    ):
        assert {name.format(""), name.format("-mean")} <= results
    assert run(capsys, "study", tmp_path / "study.toml", "--out", tmp_path / "run")[0] == 0
    wrong = STUDY.replace('["mean"]', '["mean", "mean"]')
    (tmp_path / "wrong.toml").write_text(wrong)
    status, _, err = run(capsys, "study", tmp_path / "wrong.toml", "--out", tmp_path / "other")
    assert status == 2
    assert "expected each kind once" in err


def test_the_plan_counts_the_passes_that_a_kind_adds(model):
    setup = TaskSetup(load_task("plural"), 2, 4, 0)
    plain = ffn_importance_work(model, setup)
    assert with_ablation(plain, model, setup, "zero") == plain
    reference, *same = with_ablation(plain, model, setup, "mean")
    assert len(reference.items.items) == min(100, len(setup.task.rows.pool))
    assert [each.kind for each in same] == [each.kind for each in plain]
    assert len(with_ablation(plain, model, setup, "resample")) == 2 * len(plain)
