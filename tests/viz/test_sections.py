"""The numbers behind the report's sentences."""

from math import nan

import torch

from headcount.results import Accuracy, HeadScores, LayerScores, Run, Setting
from headcount.viz.contents import Contents, read_contents
from headcount.viz.html_report.sections import importance, summary
from headcount.viz.ranks import ranks


def accuracy(value: float, stderr: float, chance: float, majority: float) -> Accuracy:
    return Accuracy(value, stderr, 2, chance, majority, [1, 0], [0, 0], [0, 0], [0, 0])


def contents(maps: dict | None = None, heads: dict | None = None, accuracies: dict | None = None) -> Contents:
    return Contents(maps or {}, {}, None, heads or {}, {}, accuracies or {}, {})


def test_a_mean_names_those_of_its_tasks_that_are_at_chance() -> None:
    good, bad = accuracy(0.9, 0.01, 0.5, nan), accuracy(0.5, 0.01, 0.5, nan)
    known = contents(accuracies={Setting("a", 0): good, Setting("b", 0): bad, Setting("b", 5): good})
    mean = LayerScores([1], provenance={"tasks": ["a", {"name": "b", "n": 2}, "unknown", 7, {}, {"name": []}]})
    assert importance.tasks_at_chance(known, Setting("mean", 0), mean) == ["b"]
    assert importance.tasks_at_chance(known, Setting("mean", 5), mean) == []
    assert importance.tasks_at_chance(known, Setting("b", 0), LayerScores([1])) == ["b"]
    assert importance.tasks_at_chance(known, Setting("a", 0), mean) == []
    assert importance.tasks_at_chance(known, Setting("mean", 0), LayerScores([1], provenance={"tasks": "b"})) == []


def test_overlap_counts_heads_among_the_first_of_both() -> None:
    values = torch.arange(40.0).view(8, 5)
    shifted = values.roll(-4)  # the six highest of the shifted scores are four places lower
    maps = {"prefix_matching": HeadScores(values)}
    heads = {Setting("a", 0): HeadScores(-values), Setting("mean", 5): HeadScores(shifted)}
    both = summary.overlap(contents(maps, heads), "prefix_matching")
    assert both == summary.TopOverlap(Setting("mean", 5), 6, 10, 2.5)
    assert summary.overlap(contents(maps, {Setting("a", 0): heads[Setting("a", 0)]}), "prefix_matching").count == 0
    assert summary.overlap(contents(maps), "prefix_matching") is None
    assert summary.overlap(contents({}, heads), "prefix_matching") is None


def test_the_most_important_head_of_the_first_few_tasks(needs_run: Run) -> None:
    best = summary.most_important_heads(read_contents(needs_run))
    assert [(setting.title, head.label, head.score) for setting, head in best] == [
        ("piqa, 0 shots", "L3H1", "1.50e-3 ± 0.15e-3"),
        ("wic, 0 shots", "L4H0", "1.50e-3 ± 0.15e-3"),
        ("piqa, 5 shots", "L3H1", "1.50e-3 ± 0.15e-3"),
        ("wic, 5 shots", "L4H0", "1.50e-3 ± 0.15e-3"),
    ]
    unmeasured = {Setting("a", 0): HeadScores([[nan]])} | {Setting(f"t{i}", 0): HeadScores([[1]]) for i in range(9)}
    assert len(summary.most_important_heads(contents(heads=unmeasured))) == summary.NAMED - 1


def test_layers_are_ranked_as_heads_are() -> None:
    assert ranks(LayerScores([1, nan, 3])) == {(2,): 1, (0,): 2}
    assert ranks(HeadScores([[1, 3]])) == {(0, 1): 1, (0, 0): 2}
