"""Scores over checkpoints of a training: measured, resumed, tabled and drawn; and two runs compared head by head."""

import json
from pathlib import Path

import pytest
import torch
from support.headcount_runs import run
from transformers import AutoModelForCausalLM

from headcount import viz
from headcount.results import HeadScores, InputError
from headcount.stats import largest_rise
from headcount.study import open_checkpoints, scores_over_training
from headcount.study.training.checkpoints import steps_of
from headcount.tracing.tiny_opt import train
from headcount.tracing.tiny_opt.spelling import build_tokenizer
from headcount.tracing.tiny_opt.walks import VOCABULARY

FOLDER = Path(train.__file__).parent


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """Three checkpoints: untrained, a tenth of the way along a straight line to tiny-opt, and tiny-opt."""
    folder = tmp_path_factory.mktemp("checkpoints")
    start, end = train.build_model(0), AutoModelForCausalLM.from_pretrained(FOLDER)
    trained = {name: weight.clone() for name, weight in end.state_dict().items()}
    for step, share in ((10, 0.0), (200, 0.1), (1500, 1.0)):
        weights = {name: (1 - share) * weight + share * trained[name] for name, weight in start.state_dict().items()}
        end.load_state_dict(weights)
        end.save_pretrained(folder / f"step{step}")
        build_tokenizer(VOCABULARY, train.CONTEXT).save_pretrained(folder / f"step{step}")
    return folder


@pytest.fixture(scope="module")
def measured(checkpoints, tmp_path_factory):
    return tmp_path_factory.mktemp("training") / "run"


def command(checkpoints, out, *more):
    names = [checkpoints / f"step{step}" for step in (1500, 10, 200)]
    return ("atlas", "--revisions", *names, "--out", out, "--sequences", 2, "--no-control", "--json", *more)


def test_one_command_measures_all_checkpoints_and_says_where_heads_form(capsys, checkpoints, measured):
    status, printed, err = run(capsys, *command(checkpoints, measured))
    assert status == 0, err
    answer = json.loads(printed)
    assert answer["steps"] == [10, 200, 1500]
    rows = {row["score"]: row for row in answer["rows"]}
    induction = rows["induction"]
    assert induction["head"] in ("L1H2", "L1H3")
    assert (induction["rises_from"], induction["rises_to"]) == (200, 1500)
    assert induction["first"] < 0.1 < 0.8 < induction["last"]
    assert induction["sure"] is True
    assert rows["previous_token"]["head"] == "L0H0"
    assert rows["previous_token"]["first"] > induction["first"]  # it is set before the training
    assert Path(answer["figure"]).stat().st_size > 1000
    assert sorted(path.name for path in measured.iterdir()) == ["over_training.html", "step10", "step1500", "step200"]


def test_the_same_command_goes_on_where_it_stopped(capsys, checkpoints, measured):
    assert run(capsys, *command(checkpoints, measured))[0] == 0
    before = {path: path.stat().st_mtime_ns for path in measured.rglob("*.safetensors")}
    assert len(before) == 3
    removed = measured / "step200/atlas/heads.safetensors"
    removed.unlink()
    assert run(capsys, *command(checkpoints, measured))[0] == 0
    after = {path: path.stat().st_mtime_ns for path in measured.rglob("*.safetensors")}
    assert [path for path in before if before[path] != after[path]] == [removed]


def test_the_figure_marks_the_phase_change(capsys, checkpoints, measured):
    assert run(capsys, *command(checkpoints, measured))[0] == 0
    scores = scores_over_training(open_checkpoints(measured))["induction"]
    assert list(scores) == [10, 200, 1500]
    figure = viz.over_training(scores)
    first, mean = figure.data[0], figure.data[-1]
    assert first.name in ("L1H2", "L1H3")
    assert list(first.x) == [10, 200, 1500]
    assert list(first.y) == [float(part.values[1, int(first.name[-1])]) for part in scores.values()]
    assert mean.name == "mean over all heads"
    assert (figure.layout.shapes[0].x0, figure.layout.shapes[0].x1) == (200, 1500)
    assert "rises most from step 200 to 1500" in figure.layout.annotations[0].text


def test_no_phase_change_is_drawn_within_the_errors():
    flat = {step: HeadScores([[0.5 + step / 1000]], variance=[[0.04]], n=4) for step in (1, 2)}
    assert not viz.over_training(flat).layout.shapes
    assert not largest_rise({1: HeadScores([[0.0]]), 2: HeadScores([[1.0]])}, (0, 0)).is_sure  # no error is known
    rise = largest_rise({1: HeadScores([[0.0]]), 5: HeadScores([[0.7]]), 9: HeadScores([[0.6]])}, (0, 0))
    assert rise[:2] == (1, 5)
    assert rise.size == pytest.approx(0.7)


def test_bad_input_is_one_line():
    with pytest.raises(InputError, match="training step, such as step1000, got 'main'"):
        steps_of(["main", "step2"])
    with pytest.raises(InputError, match="are of one training step"):
        steps_of(["a/step2", "b/step2"])
    with pytest.raises(InputError, match="two checkpoints or more, got 1"):
        steps_of(["step2"])
    with pytest.raises(InputError, match="two checkpoints or more, got 1"):
        viz.over_training({1: HeadScores([[0.0]])})
    with pytest.raises(InputError, match="one score of one shape"):
        viz.over_training({1: HeadScores([[0.0]]), 2: HeadScores([[0.0, 1.0]])})


def test_a_revision_needs_a_model(capsys, tmp_path):
    status, _, err = run(capsys, "atlas", "--revisions", "step1", "step2", "--out", tmp_path / "run")
    assert status == 2
    assert "expected --model with it" in err


def test_two_runs_are_compared_head_by_head(capsys, checkpoints, measured):
    assert run(capsys, *command(checkpoints, measured))[0] == 0
    status, printed, err = run(capsys, "compare", measured / "step200", measured / "step1500", "--json")
    assert status == 0, err
    (rows,) = json.loads(printed).values()
    by_score = {row["score"]: row for row in rows}
    assert {"atlas/heads/induction", "atlas/heads/on_text/previous_token"} <= set(by_score)
    assert by_score["atlas/heads/induction"]["by"] == "head"
    assert -1 <= by_score["atlas/heads/induction"]["rho"] <= 1


def test_the_training_saves_checkpoints(tmp_path):
    """Two steps of two short sequences; the script's own stages take minutes."""
    model = train.build_model(0)
    stage = train.Stage(steps=2, batch=2, length=12, sizes=(4, 6), penalty=0.0)
    before = model.lm_head.weight.detach().clone()
    losses = train.train(model, (stage,), 0, lambda step: train.save_checkpoint(model, tmp_path, [1], step))
    assert len(losses) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["step1"]
    saved = AutoModelForCausalLM.from_pretrained(tmp_path / "step1").lm_head.weight
    assert not torch.equal(saved, before)
    assert not torch.equal(saved, model.lm_head.weight)
