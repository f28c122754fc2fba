"""The commands about tasks, used as a person and as a program would."""

import json

import pytest
import torch
from support.headcount_runs import run

from headcount.importance import accuracy, ffn_importance, head_importance, load_task, prune
from headcount.results import open_run
from headcount.tracing import load_model

MODEL = ("--model", "tiny-opt", "--limit", 6)


def goals(first, last):
    """Yield rows of piqa's form; the longest of them do not fit into the model's context."""
    for number in range(first, last):
        goal = f"keep number {number} warm " * (1 if number % 4 else 120)
        yield {"goal": goal, "sol1": f"wrap it {number} times", "sol2": "leave it outside", "label": number % 2}


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "rows"
    folder.mkdir()
    write(folder / "piqa.jsonl", goals(0, 8))
    write(folder / "piqa.train.jsonl", goals(8, 16))
    return folder


@pytest.fixture
def measured(tmp_path, data, capsys):
    out = tmp_path / "run"
    status, _, err = run(
        capsys, "importance", *MODEL, "--task", "piqa", "plural", "--shots", 0, 1, "--data", data, "--out", out
    )
    assert status == 0, err
    assert "piqa.0shot: 2 of 6 documents are longer than the model's context" in err
    return out


def test_results_are_those_of_the_public_functions(measured, data):
    model, task = load_model("tiny-opt"), load_task("piqa", data=data)
    found = open_run(measured)
    scores = found["importance/heads/piqa.1shot"]
    expected = head_importance(model, task.examples(1, 6))
    assert torch.equal(scores.values, expected.values)
    assert torch.equal(scores.folds, expected.folds)
    assert (scores.provenance["shots"], scores.provenance["limit"]) == (1, 6)
    ours, theirs = found["accuracy/piqa.0shot"], accuracy(model, task, 0, 6)
    assert torch.equal(ours.gold_log_p, theirs.gold_log_p)
    assert ours.cut == 2


def test_means_over_tasks_follow_when_there_are_two(measured):
    found = open_run(measured)
    for shots in (0, 1):
        tasks = [found[f"importance/heads/{task}.{shots}shot"].values for task in ("piqa", "plural")]
        torch.testing.assert_close(found[f"importance/heads/mean.{shots}shot"].values, torch.stack(tasks).mean(0))
        assert f"importance/heads/rank-mean.{shots}shot" in found


def test_ffns_go_into_the_same_run(measured, data, capsys):
    status, out, _ = run(capsys, "ffn", *MODEL, "--task", "piqa", "--data", data, "--out", measured, "--json")
    assert status == 0
    assert json.loads(out)["measured"] == ["importance/ffns/piqa.0shot"]  # the accuracy is there already
    expected = ffn_importance(load_model("tiny-opt"), load_task("piqa", data=data), 0, 6)
    assert torch.equal(open_run(measured)["importance/ffns/piqa.0shot"].values, expected.values)


def test_what_is_there_is_not_measured_again_and_what_changed_is(measured, data, tmp_path, capsys):
    def again(*arguments):
        command = ("importance", "--task", "piqa", "--out", measured, "--json", *arguments)
        status, out, err = run(capsys, *command)
        assert status == 0, err
        return json.loads(out)["measured"]

    assert again(*MODEL, "--data", data) == []
    moved = data.rename(tmp_path / "elsewhere")
    assert again(*MODEL, "--data", moved) == []
    everything = ["accuracy/piqa.0shot", "importance/heads/piqa.0shot"]
    means = ["importance/heads/mean.0shot", "importance/heads/rank-mean.0shot"]
    assert again("--model", "tiny-opt", "--limit", 5, "--data", moved, "--replace") == everything + means
    write(moved / "piqa.jsonl", goals(1, 9))
    assert again("--model", "tiny-opt", "--limit", 5, "--data", moved, "--replace") == everything


def test_what_was_finished_before_an_interruption_stays(tmp_path, data, capsys, monkeypatch):
    from headcount import importance

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    command = ("importance", *MODEL, "--task", "piqa", "--data", data, "--out", tmp_path / "run", "--json")
    with monkeypatch.context() as patch:
        patch.setattr(importance, "head_importance", interrupted)
        status, _, err = run(capsys, *command)
    assert status == 130
    assert "goes on from there" in err
    assert json.loads(run(capsys, *command)[1])["measured"] == ["importance/heads/piqa.0shot"]


def test_heads_one_at_a_time_stand_beside_the_gradients(measured, data, capsys):
    command = ("importance", *MODEL, "--task", "piqa", "--data", data, "--out", measured, "--method", "oracle")
    assert run(capsys, *command)[0] == 0
    found = open_run(measured)
    assert found["importance/heads-oracle/piqa.0shot"].definition == "oracle, log-probability"
    whole, within = found["analyses/gradient_and_oracle"].records()
    assert (whole["setting"], whole["within"], within["within"]) == ("piqa.0shot", None, "layer")
    assert -1 <= whole["rho"] <= 1


def test_show_gives_tables_and_json_without_nan(measured, capsys):
    status, out, _ = run(capsys, "show", measured, "--top", 1)
    assert status == 0
    assert "accuracy/plural.1shot" in out
    text = run(capsys, "show", measured, "--json")[1]
    assert "NaN" not in text
    assert json.loads(text)["results"]["accuracy/piqa.0shot"]["accuracy"]["majority"] is None


def test_tasks_lists_all_and_the_sources_of_rows(data, capsys):
    assert "key_value" in run(capsys, "tasks")[1]
    status, out, _ = run(capsys, "tasks", "--data", data, "--json")
    assert status == 0
    found = {row["task"]: row for row in json.loads(out)}
    assert len(found) == 22
    assert found["piqa"] == {"task": "piqa", "metric": "acc", "source": str(data), "here": True}
    assert not found["wic"]["here"]


def bad(data, tmp_path):
    """Yield bad input: arguments, and a part of the line about it."""

    def task(name, *more):
        return ("importance", *MODEL, "--task", name, "--data", data, "--out", tmp_path / "new", *more)

    ok = next(iter(goals(0, 1)))
    yield ("importance", "--out", tmp_path / "new"), "--task"
    yield task("piqua"), "did you mean piqa"
    yield task("arc-hard"), "arc_"
    yield task("copa"), "has no copa.jsonl: it holds the rows of piqa"
    yield task("piqa", "--shots", -1), "--shots must be 0 or more, not -1"
    yield task("piqa", "--shots", "few"), "few"
    yield task("piqa", "--shots", 9), "piqa: expected 9 or more rows to draw shots from, got 8"
    yield task("piqa", "--profile", "mine"), "mine"
    yield task("piqa", "--reduction", "sum"), "sum"
    yield task("piqa", "--method", "guess"), "guess"
    yield ("ffn", "--task", "piqa", "--limit", 0, "--out", tmp_path / "new"), "--limit must be 1 or more, not 0"
    yield ("ffn", "--task", "piqa", "--data", tmp_path / "gone", "--out", tmp_path / "new"), "is not there"
    yield ("tasks", "--data", tmp_path / "gone"), "expected a folder of task rows"
    for rows, message in (
        ([], "piqa.jsonl is empty"),
        ([ok, {**ok, "label": 7}], "piqa.jsonl, line 2"),
        ([{key: value for key, value in ok.items() if key != "goal"}], "goal"),
        ([ok, [1, 2]], "piqa.jsonl, line 2"),
        ([{**ok, "sol1": ""}], "sol1"),
    ):
        write(data / "piqa.jsonl", rows)
        yield task("piqa"), message
    (data / "piqa.jsonl").write_text('{"goal": "x",\n')
    yield task("piqa"), "piqa.jsonl, line 1: expected a JSON object"
    (data / "piqa.jsonl").write_bytes(b"\xff\xfe")
    yield task("piqa"), "UTF-8"


def test_bad_input_is_one_line_that_helps_and_exit_status_2(data, tmp_path, capsys):
    for arguments, message in bad(data, tmp_path):
        status, out, err = run(capsys, *arguments)
        assert status == 2, (arguments, out, err)
        assert len(err.splitlines()) == 1, (arguments, err)
        assert out == "", arguments
        assert message in err, (arguments, err)
        assert not (tmp_path / "new").exists(), arguments


def pruned(capsys, out, data, *arguments):
    task = ("--task", "piqa", "--data", data, "--out", out, "--json")
    status, out_text, err = run(capsys, "prune", *MODEL, *task, *arguments)
    assert status == 0, err
    return json.loads(out_text)["measured"]


def test_pruning_measures_the_ranking_that_the_run_lacks_and_goes_along_it(tmp_path, data, capsys):
    out = tmp_path / "run"
    assert pruned(capsys, out, data, "--percents", 25, 50) == [
        "importance/heads/piqa.0shot",
        "pruning/heads/piqa.0shot.own",
    ]
    assert pruned(capsys, out, data, "--percents", 25, 50) == []
    found = open_run(out)
    curve = found["pruning/heads/piqa.0shot.own"]
    assert curve.percents == (0, 25, 50)
    assert torch.equal(curve.order[0], found["importance/heads/piqa.0shot"].ranking())
    model, task = load_model("tiny-opt"), load_task("piqa", data=data)
    expected = prune(model, task, found["importance/heads/piqa.0shot"], percents=(25, 50), limit=6)
    assert torch.equal(curve.gold_log_p, expected.gold_log_p)


def test_pruning_goes_along_the_ranking_that_the_run_has(tmp_path, data, capsys):
    out = tmp_path / "run"
    task = ("--task", "piqa", "--data", data, "--out", out)
    assert run(capsys, "importance", *MODEL, *task, "--reduction", "signed")[0] == 0
    assert pruned(capsys, out, data, "--percents", 50) == ["pruning/heads/piqa.0shot.own"]
    assert open_run(out)["pruning/heads/piqa.0shot.own"].provenance["ranking"]["definition"] == "gradient, signed"


def test_other_ways_to_prune(tmp_path, data, capsys):
    out = tmp_path / "run"
    random = pruned(capsys, out, data, "--strategy", "random", "--percents", 50, "--seeds", 4, 5)
    assert random == ["pruning/heads/piqa.0shot.random"]
    assert open_run(out)["pruning/heads/piqa.0shot.random"].seeds == (4, 5)
    again = pruned(capsys, out, data, "--strategy", "recomputed", "--component", "ffns", "--percents", 50)
    assert again == ["pruning/ffns/piqa.0shot.recomputed"]
    both = ["importance/heads/piqa.0shot", "importance/ffns/piqa.0shot", "pruning/grid/piqa.0shot"]
    assert pruned(capsys, out, data, "--component", "both") == both


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--percents", 50, 120), "--percents must be above 0 and at most 100, not 120"),
        (("--percents", 0), "--percents must be above 0"),
        (("--component", "both", "--strategy", "random"), "leave out --strategy random"),
        (("--component", "layers"), "layers"),
    ],
)
def test_an_impossible_removal_is_refused_in_one_line(tmp_path, data, capsys, arguments, message):
    task = ("--task", "piqa", "--data", data, "--out", tmp_path / "run")
    status, _, err = run(capsys, "prune", *MODEL, *task, *arguments)
    assert (status, err.count("\n")) == (2, 1)
    assert message in err


def test_ffns_are_ranked_on_other_rows_on_request(tmp_path, data, capsys):
    def ffn(*more):
        task = ("--task", "piqa", "--data", data, "--out", tmp_path / "run", "--json")
        status, out, err = run(capsys, "ffn", *MODEL, *task, *more)
        assert status == 0, err
        return json.loads(out)["measured"]

    assert "importance/ffns/piqa.0shot" in ffn()
    assert ffn() == []
    assert ffn("--rank-split", "train", "--replace") == ["importance/ffns/piqa.0shot"]
    found = open_run(tmp_path / "run")["importance/ffns/piqa.0shot"]
    expected = ffn_importance(load_model("tiny-opt"), load_task("piqa", data=data), 0, 6, rank_split="train")
    assert torch.equal(found.extras["log_p"], expected.extras["log_p"])
    assert ffn("--replace") == ["importance/ffns/piqa.0shot"]
