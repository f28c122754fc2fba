"""The commands `causes` and `rank` on the model that comes with the package: what they leave in a run."""

import json
import random
from dataclasses import replace

import pytest
import torch
from reference import hand_built
from reference.models import word_tokenizer
from support.headcount_runs import run

from headcount.importance import ablated, accuracy, head_importance, load_task
from headcount.importance.internal import TaskSetup
from headcount.induction import score_heads
from headcount.planning.costs import unit_costs
from headcount.planning.hardware import choose_hardware
from headcount.planning.shape import Shape
from headcount.results import HeadScores, InputError, PruningCurve, SetEffects, Table, create_run, open_run
from headcount.stats import compare
from headcount.study import RANKINGS, load_tasks, manifest_entry, measure_units, parse_config, study_units
from headcount.study.units.causes import verdicts_unit
from headcount.study.units.ranking_tables import areas
from headcount.study.units.rankings import ATTRIBUTIONS, KINDS, OTHERS, SIZES
from headcount.tracing import load_model, masked

TASK = ("--task", "key_value", "--limit", "8", "--model", "tiny-opt")


@pytest.fixture(scope="module")
def ranked(tmp_path_factory):
    return tmp_path_factory.mktemp("ranked") / "run"


def test_causes_leaves_effects_and_verdicts_and_goes_on(capsys, tmp_path):
    command = ["causes", *TASK, "--kinds", "induction", "importance", "--percents", "25", "--random-seeds", "0", "1"]
    command += ["--ablations", "zero", "--out", tmp_path / "run", "--json"]
    status, out, _ = run(capsys, *command)
    assert status == 0
    results = open_run(tmp_path / "run")
    effects, verdicts = results["causes/zero/key_value.0shot"], results["verdicts/zero/key_value.0shot"]
    assert isinstance(effects, SetEffects)
    assert isinstance(verdicts, Table)
    model = load_model("tiny-opt")
    importance = results["importance/heads/key_value.0shot"]
    index = effects.kinds.index("importance")
    assert {tuple(pair) for pair in effects.heads[index].nonzero().tolist()} == {
        (layer, head) for layer, head, _ in importance.top(2)
    }
    with masked(model, heads=effects.heads[index].bool()):
        without = accuracy(model, load_task("key_value"), limit=8)
    torch.testing.assert_close(effects.gold_log_p[index, 0], without.gold_log_p, atol=1e-4, rtol=1e-5)
    assert {row["kind"] for row in verdicts.records()} == {"induction", "importance"}
    assert json.loads(out)["measured"][-1] == "verdicts/zero/key_value.0shot"
    assert json.loads(run(capsys, *command)[1])["measured"] == []
    status, shown, _ = run(capsys, "show", tmp_path / "run", "--section", "verdicts")
    assert status == 0
    assert "beyond" in shown
    assert "beyond low" not in shown


def test_tasks_that_are_measured_together_share_means_and_function_vectors(capsys, tmp_path):
    names = ("antonym", "plural")
    command = ["causes", "--task", "antonym", "--reference", *names, "--shots", "2", "--limit", "4"]
    command += ["--model", "tiny-opt", "--kinds", "function_vector", "--percents", "25", "--random-seeds", "0", "1"]
    command += ["--ablations", "mean", "--out", tmp_path / "run"]
    assert run(capsys, *command)[0] == 0
    results = open_run(tmp_path / "run")
    effects = results["causes/mean/antonym.2shot"]
    assert effects.provenance["means_over"] == results["verdicts/mean/antonym.2shot"].provenance["means_over"]
    assert effects.provenance["means_over"] == list(names)
    by_task = [results[f"importance/function-vectors/{name}.2shot"].values for name in names]
    expected = torch.stack(by_task).mean(0).flatten().topk(2).indices
    assert effects.heads[0].flatten().nonzero().flatten().tolist() == sorted(expected.tolist())
    model = load_model("tiny-opt")
    tasks = [load_task(name) for name in names]
    reference = [example for task in tasks for example in task.reference(2)]
    with ablated(model, heads=effects.heads[0].bool(), kind="mean", reference=reference):
        without = accuracy(model, tasks[0], shots=2, limit=4)
    torch.testing.assert_close(effects.gold_log_p[0, 0], without.gold_log_p, atol=1e-4, rtol=1e-5)
    assert json.loads(run(capsys, *command, "--json")[1])["measured"] == []


def test_rank_compares_rankings_on_the_same_documents(capsys, ranked):
    rankings = ("example-mean", "oracle-size", "activation-norm", "random")
    command = ["rank", *TASK, "--rankings", *rankings, "--ablations", "mean", "--out", ranked]
    assert run(capsys, *command)[0] == 0
    results = open_run(ranked)
    rows = {row["ranking"]: row for row in results["areas/mean/key_value.0shot"].records()}
    assert set(rows) == {"token", *rankings}
    curves = {name: results[f"rank/mean/key_value.0shot.{name}"] for name in rows}
    for name, row in rows.items():
        curve = curves[name]
        assert isinstance(curve, PruningCurve)
        assert curve.percents == tuple(range(0, 101, 10))
        assert (row["log_p"], row["log_p_stderr"]) == pytest.approx(compare.area(curve))
        gain = compare.area(curve, minus=curves["token"])
        assert (row["log_p_gain"], row["log_p_gain_stderr"]) == pytest.approx(gain)
        assert row["cpr"] == pytest.approx(compare.faithfulness(curve).cpr)
        assert row["verdict"] == "undecided"  # the model does not exceed guessing on so few documents
    assert len(curves["random"].seeds) == 5
    sizes = results["importance/ranking-oracle/key_value.0shot"].extras["absolute_drop"].flatten()
    assert curves["oracle-size"].order[0].tolist() == sizes.argsort(stable=True).tolist()


def test_the_headline_holds_fails_or_is_undecided_by_its_interval():
    def curve(right):
        n = 400
        correct = (torch.arange(n) < torch.tensor([[right[0]], [right[1]], [0]])).float()[None]
        log_p = correct - 2.0
        percents, removed = (0.0, 70.0, 100.0), (0, 7, 10)
        fields = (removed, (0.0,) * 3, (0,), torch.arange(10.0)[None], correct, log_p, log_p, 0.25, 0.25, correct)
        return PruningCurve("heads", "static", percents, *fields)

    curves = {"token": curve((360, 200)), "good": curve((360, 358)), "fair": curve((360, 340))}
    verdicts = {row["ranking"]: (row["verdict"], row["fall"]) for row in areas(curves, "token")}
    assert verdicts == {
        "good": ("holds", pytest.approx(0.005)),
        "fair": ("undecided", pytest.approx(0.05)),
        "token": ("fails", pytest.approx(0.4)),
    }
    assert list(verdicts) == ["good", "fair", "token"]


CONFIG = """
model = "tiny-opt"
sequences = 2
examples = 6
cause_kinds = ["induction", "importance"]
cause_percents = [25]
cause_seeds = [0, 1]
cause_ablations = ["zero"]
compared_rankings = ["activation-norm"]

[[tasks]]
names = ["key_value"]
shots = [2]
limit = 6
causes = true
rank = true
"""


def test_a_study_measures_causes_and_rankings_once_and_their_costs_are_known(tmp_path):
    config, model = parse_config(CONFIG, "mine.toml"), load_model("tiny-opt")
    results = create_run(tmp_path / "run", model={"name": "tiny-opt"})
    units = study_units(model, results, config, load_tasks(config))
    names = [name for unit in units for name in unit.names]
    assert len(names) == len(set(names))  # importance is measured once, for both uses
    folders = ("induction/", "importance/heads/", "importance/ranking", "causes/", "verdicts/", "rank/", "areas/")
    units = [unit for unit in units if unit.names[0].startswith(folders)]
    measured = measure_units(units, results)
    assert {"causes/zero/key_value.2shot", "verdicts/zero/key_value.2shot", "areas/zero/key_value.2shot"} <= set(
        measured
    )
    assert results["importance/heads/key_value.2shot"].provenance["reduction"] == config.reduction
    assert measure_units(units, results) == []
    shape = Shape.of(model)
    costs = unit_costs(units, shape, choose_hardware("1xA100-80GB", shape, model.dtype))
    flops = {cost.names[0]: cost.flops for cost in costs}
    accuracies = flops["rank/zero/key_value.2shot.token"] / 11
    assert flops["causes/zero/key_value.2shot"] == pytest.approx((1 + 2 * 2 * 3) * accuracies)
    assert flops["importance/ranking-token/key_value.2shot"] > 0
    assert flops["verdicts/zero/key_value.2shot"] > 0
    changed = config.model_copy(update={"cause_percents": [50.0]})
    with pytest.raises(InputError, match=r"causes/zero/key_value\.2shot with percents"):
        measure_units(study_units(model, results, changed, load_tasks(changed)), results)


def test_good_loss_on_repeats_gives_no_verdict_on_induction_without_an_induction_head(tmp_path):
    model = load_model(hand_built.repeating_model(), tokenizer=word_tokenizer())
    pick, rows = random.Random(0), []
    for _ in range(24):
        words = [f" w{number}" for number in pick.sample(range(hand_built.WORDS), hand_built.WORDS)]
        length = pick.randrange(24, 36)
        wrong = pick.sample([word for word in words if word != words[length % 12]], 3)
        context = "".join(words[place % 12] for place in range(length)).strip()
        rows.append({"context": context, "choices": [words[length % 12], *wrong], "gold": 0})
    for name in ("repeats.jsonl", "repeats.train.jsonl"):
        part = rows[:16] if name == "repeats.jsonl" else rows[16:]
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in part))
    setup = TaskSetup(load_task("repeats", data=tmp_path), 0, None, 0)
    whole = accuracy(model, setup.task, 0)
    assert whole.value == 1
    assert -whole.gold_log_p.mean() < 0.05  # the repeats are continued as well as by an induction head
    results = create_run(tmp_path / "run", model={"name": "by hand"})
    scores = score_heads(model, 2).prefix_matching
    assert scores.top(1)[0][2] < 0.1
    results.save(
        "induction/prefix_matching", replace(scores, values=scores.values + 0.01 * torch.eye(2, 4))
    )  # L0H0 first
    results.save("importance/heads/repeats.0shot", head_importance(model, setup.task.examples(0)))
    unit = verdicts_unit(model, results, setup, [setup], "zero", ("induction", "importance"))
    measure_units([unit], results)
    (row,) = results["verdicts/zero/repeats.0shot"].records()
    assert (row["kind"], row["layer"], row["head"], row["verdict"]) == ("importance", 0, 0, "primary")
    results.save("induction/prefix_matching", replace(scores, values=scores.values + torch.eye(2, 4)))
    measure_units(
        [verdicts_unit(model, results, setup, [setup], "zero", ("induction", "importance"))], results, replace=True
    )
    assert [row["kind"] for row in results["verdicts/zero/repeats.0shot"].records()] == ["induction", "importance"]


def test_every_ranking_has_a_way_to_be_made():
    assert set(RANKINGS) == {*ATTRIBUTIONS, *SIZES, "activation-norm", *KINDS, *OTHERS, "random"}


def test_gates_of_other_tasks_are_the_mean_over_these(capsys, tmp_path):
    results = create_run(tmp_path / "run", model=manifest_entry(load_model("tiny-opt")))
    generator, tasks = torch.Generator().manual_seed(0), ("key_value", "plural", "antonym")
    gates = {task: HeadScores(torch.rand(2, 4, generator=generator), measure="causal_gates") for task in tasks}
    for task, scores in gates.items():
        for role in ("facilitating", "irrelevant", "interfering"):
            results.save(f"importance/gates-{role}-mean/{task}.0shot", scores)
    command = ["rank", "--task", *tasks, "--limit", 3, "--model", "tiny-opt", "--out", tmp_path / "run"]
    assert run(capsys, *command, "--ablations", "zero", "--rankings", "gates-other")[0] == 0
    results = open_run(tmp_path / "run")
    mean = (gates["plural"].values + gates["antonym"].values) / 2
    order = results["rank/zero/key_value.0shot.gates-other"].order[0].tolist()
    assert order == mean.flatten().argsort(stable=True).tolist()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["causes", "--kinds", "attention"], "--kinds must be some of induction, function_vector, importance, gates"),
        (["causes", "--percents", "60"], "--percents of at most 50"),
        (["causes", "--random-seeds", "1"], "two --random-seeds or more"),
        (["rank", "--rankings", "magic"], "--rankings must be some of token, example"),
        (["rank", "--rankings", "gates-other"], "name two or more with --task"),
    ],
)
def test_bad_options_end_in_one_line(capsys, tmp_path, options, message):
    status, _, err = run(capsys, options[0], *TASK, *options[1:], "--out", tmp_path / "run")
    assert status == 2
    assert message in err
