"""The commands about causes in single heads."""

import json

import torch
from support.headcount_runs import run

from headcount.importance import causal_gates, function_vector_heads, load_task
from headcount.induction import composition, feeding_heads
from headcount.results import open_run
from headcount.tracing import load_model

MODEL = ("--model", "tiny-opt")


def measured(capsys, out, *arguments):
    status, printed, err = run(capsys, *arguments, *MODEL, "--json", "--out", out)
    assert status == 0, err
    return json.loads(printed)["measured"]


def test_results_are_those_of_the_public_functions(capsys, tmp_path):
    out, model, task = tmp_path / "run", load_model("tiny-opt"), load_task("plural")
    names = measured(capsys, out, "function-vectors", "--task", "plural", "antonym", "--shots", 2, "--limit", 3)
    assert {"importance/function-vectors/plural.2shot", "importance/function-vectors/mean.2shot"} <= set(names)
    names = measured(capsys, out, "gates", "--task", "plural", "--limit", 9, "--steps", 2, "--ablation", "zero")
    assert "importance/gates-interfering/plural.0shot" in names  # of zero ablation; of means the name would say so
    assert measured(capsys, out, "paths", "--head", "L1H2", "--sequences", 2) == ["paths/L1H2-key-direct"]
    results = open_run(out)
    expected = function_vector_heads(model, task, 2, n=3)
    assert torch.equal(results["importance/function-vectors/plural.2shot"].values, expected.values)
    gates = causal_gates(model, task.examples(0, 9), steps=2, ablation="zero")
    assert torch.equal(results["importance/gates-facilitating/plural.0shot"].values, gates.facilitating.values)
    paths = feeding_heads(model, (1, 2), n_sequences=2)
    assert torch.equal(results["paths/L1H2-key-direct"].values[0], paths.values[0])


def test_the_same_command_measures_nothing_again_and_other_settings_are_refused(capsys, tmp_path):
    command = ("paths", "--head", "L1H3", "--sequences", 1)
    assert measured(capsys, tmp_path / "run", *command)
    assert measured(capsys, tmp_path / "run", *command) == []
    status, _, err = run(capsys, *command[:-1], 2, *MODEL, "--out", tmp_path / "run")
    assert status == 2
    assert "n_sequences = 1, and 2 is requested" in err


def test_composition_is_saved_and_shown(capsys, tmp_path):
    out = tmp_path / "run"
    assert measured(capsys, out, "composition", "--kind", "V", "K") == ["composition/V", "composition/K"]
    scores = open_run(out)["composition/K"]
    assert torch.equal(scores.values.nan_to_num(), composition(load_model("tiny-opt"), "K").values.nan_to_num())
    status, shown, _ = run(capsys, "show", out, "composition/K", "--top", 2)
    assert status == 0
    assert "0.089 for unrelated heads" in shown
    assert [line.split() for line in shown.splitlines() if "→" in line] == [
        ["L0H0", "→", "L1H2", "0.2472"],
        ["L0H0", "→", "L1H3", "0.2467"],
    ]
