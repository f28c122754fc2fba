"""Claims are evaluated as their criteria say, on results built by hand."""

import pytest
import torch

from headcount.results import Accuracy, HeadScores, PruningCurve, Table
from headcount.study.claims import layers, pruning, rankings
from headcount.study.claims.claims import CLAIMS
from headcount.study.claims.results import StudyResults

N = 100


def answered(right, chance=0.25):
    correct = torch.zeros(N)
    correct[:right] = 1
    filler = torch.zeros(N)
    error = float(correct.std() / N**0.5)
    return Accuracy(right / N, error, N, chance, float("nan"), correct, filler, filler, filler)


def curve(*right, component="heads", percents=(0, 20, 70)):
    """Return a curve with this many of the first documents right at each percent."""
    correct = torch.stack([(torch.arange(N) < n).float() for n in right])[None]
    counts, order = tuple(percent // 10 for percent in percents), torch.arange(10)[None]
    return PruningCurve(
        component, "static", percents, counts, counts, (0,), order, correct, correct, correct, 0.25, float("nan")
    )


def findings(**results):
    named = {name.replace("__", "/").replace("_0shot", ".0shot"): result for name, result in results.items()}
    return StudyResults(named, {0: ["piqa"]}, [])


def test_what_the_model_cannot_do_gives_no_verdict():
    found = findings(accuracy__piqa_0shot=answered(30))
    found.results["pruning/heads/piqa.0shot.own"] = curve(30, 30, 30)
    assert found.solved() == []
    assert pruning.removable("heads", 70.0)(found)[0] == "undecided"


@pytest.mark.parametrize(("left", "verdict"), [(80, "holds"), (40, "does not hold"), (76, "undecided")])
def test_heads_can_go_if_accuracy_stays(left, verdict):
    found = findings(accuracy__piqa_0shot=answered(80))
    found.results["pruning/heads/piqa.0shot.own"] = curve(80, 80, left)
    found_verdict, evidence = pruning.removable("heads", 70.0)(found)
    assert found_verdict == verdict
    assert f"falls by {(80 - left) / 100:.3f}" in evidence


def test_a_ranking_must_beat_chance():
    found = findings(accuracy__piqa_0shot=answered(80))
    found.results["pruning/heads/piqa.0shot.own"] = curve(80, 80, 70)
    found.results["pruning/heads/piqa.0shot.random"] = curve(80, 50, 30)
    assert pruning.better_than_random("heads")(found)[0] == "holds"
    found.results["pruning/heads/piqa.0shot.own"] = curve(80, 50, 30)
    assert pruning.better_than_random("heads")(found)[0] == "undecided"


@pytest.mark.parametrize(("by_mean", "verdict"), [(80, "holds"), (60, "does not hold"), (77, "undecided")])
def test_an_unseen_task_is_evaluated_at_the_steps_that_both_rankings_have(by_mean, verdict):
    found = StudyResults({"accuracy/piqa.0shot": answered(80)}, {0: ["piqa"]}, ["piqa"])
    found.results["pruning/heads/piqa.0shot.own"] = curve(80, 80, 80)
    found.results["pruning/heads/piqa.0shot.mean"] = curve(80, by_mean, percents=(0, 70))
    found_verdict, evidence = pruning.unseen(found)
    assert found_verdict == verdict
    assert f"lower by {(80 - by_mean) / 100:.3f}" in evidence
    found.results["pruning/heads/piqa.0shot.mean"] = curve(80, by_mean, percents=(0, 50))
    assert pruning.unseen(found)[0] == "undecided"


def by_layer(*shares):
    rows = [
        {"measure": "head_importance", "task": f"t{task}", "shots": 0, "layer": layer, "value": share, "stderr": 0.0,
         "share": share}
        for task, one in enumerate(shares)
        for layer, share in enumerate(one)
    ]  # fmt: skip
    return findings(analyses__layers=Table.of(rows))


def test_depth_is_evaluated_by_the_number_of_layers():
    middle = layers.concentrated("head_importance", 1 / 3, 2 / 3)
    assert middle(by_layer([0.1, 0.8, 0.1], [0.2, 0.7, 0.1]))[0] == "holds"
    assert middle(by_layer([0.5, 0.1, 0.4], [0.5, 0.0, 0.5]))[0] == "does not hold"
    assert middle(by_layer([0.2, 0.6, 0.2], [0.5, 0.0, 0.5]))[0] == "undecided"
    assert middle(by_layer([0.5, 0.5]))[0] == "undecided"  # two layers have no middle third
    assert middle(findings())[0] == "undecided"


def test_depth_counts_heads_where_layers_have_none():
    middle = layers.concentrated("head_importance", 1 / 3, 2 / 3)
    hybrid = [0.3, None, 0.4, None, 0.3, None]  # the middle third has one of three layers with heads
    found = middle(by_layer(hybrid, [0.32, None, 0.38, None, 0.3, None]))
    assert found[0] == "holds"
    assert "which are 33 % of all" in found[1]
    assert middle(by_layer([0.5, 0.5, None, None, 0.0, 0.0]))[0] == "undecided"  # no heads in the middle


def test_few_heads_are_a_share_of_those_there_are():
    values = torch.full((10, 4), 0.0)
    values[0, :2] = 0.9
    values[1:8] = torch.nan
    scores = HeadScores(values)
    found = findings(induction__prefix_matching=scores, induction__copying=scores)
    assert rankings.few_do_both(found)[1].startswith("2 of 12 heads")
    assert rankings.few_do_both(found)[0] == "does not hold"


def test_few_heads_do_both():
    prefix, copying = torch.zeros(10, 10), torch.zeros(10, 10)
    prefix[0, :3], copying[0, 2:6] = 0.9, 0.9
    found = findings(induction__prefix_matching=HeadScores(prefix), induction__copying=HeadScores(copying))
    verdict, evidence = rankings.few_do_both(found)
    assert verdict == "holds"
    assert "1 of 100" in evidence


def test_every_claim_has_a_verdict_on_an_empty_run():
    for claim in CLAIMS:
        verdict, evidence = claim.evaluate(StudyResults({}, {0: ["piqa"]}, []))
        assert verdict == "undecided", claim.text
        assert evidence


def test_tasks_that_the_model_cannot_do_are_not_compared_in_their_reliance():
    def agrees(task, rho):
        return {"task": task, "score": "prefix_matching", "rho": rho, "low": rho - 0.05, "high": rho + 0.05}

    table = Table.of([agrees("piqa", 0.1), agrees("copa", 0.5), agrees("wic", 0.9)])
    found = StudyResults({"analyses/agreement.0shot": table}, {0: ["piqa", "copa", "wic"]}, [])
    found.results.update({f"accuracy/{task}.0shot": answered(80) for task in ("piqa", "copa")})
    found.results["accuracy/wic.0shot"] = answered(30)
    verdict, evidence = rankings.tasks_differ(found)
    assert verdict == "holds"
    assert "wic" not in evidence
    del found.results["accuracy/copa.0shot"]
    assert rankings.tasks_differ(found)[0] == "undecided"


def test_no_heads_in_copying_settle_nothing_about_both():
    few = findings(induction__prefix_matching=HeadScores([[0.9, 0.1]]), induction__copying=HeadScores([[0.3, 0.2]]))
    verdict, evidence = rankings.few_do_both(few)
    assert verdict == "undecided"
    assert "0 of 2 heads score above 0.5 in both, 1 in prefix matching, 0 in copying" in evidence


@pytest.mark.parametrize(("null_high", "verdict"), [(0.2, "holds"), (0.95, "undecided")])
def test_tasks_differ_only_beyond_what_layers_alone_give(null_high, verdict):
    row = {"score": "prefix_matching", "null_low": 0.0, "null_high": null_high}
    rows = [
        {"task": "piqa", "rho": 0.1, "low": 0.0, "high": 0.2, **row},
        {"task": "wic", "rho": 0.9, "low": 0.8, "high": 0.95, **row},
    ]
    found = StudyResults({"analyses/agreement.0shot": Table.of(rows, "agreement")}, {0: ["piqa", "wic"]}, [])
    for task in ("piqa", "wic"):
        found.results[f"accuracy/{task}.0shot"] = answered(80)
    assert rankings.tasks_differ(found)[0] == verdict
