"""Means over tasks of what is left without sets of heads: plain loops over tasks, draws and documents."""

from dataclasses import replace
from math import isnan, sqrt
from statistics import fmean, stdev

import pytest
import torch

from headcount.results import InputError, SetEffects
from headcount.stats import compare

SETS = [("a", 5.0, False), ("a", 5.0, True), ("b", 5.0, False)]
HEADS = [[1, 1, 0, 0], [1, 0, 0, 0], [0, 1, 0, 0]]  # of b nothing is left without the heads of a
T_OF_ONE_DEGREE = 12.706


def effects(seed, documents, heads=HEADS, sets=SETS):
    generator = torch.Generator().manual_seed(seed)
    shape = (len(sets), 4, documents)
    right, greedy = ((torch.rand(shape, generator=generator) < 0.5).float() for _ in range(2))
    whole = torch.ones(documents)
    columns = (tuple(column) for column in zip(*sets, strict=True))
    of_heads = torch.tensor(heads).float()[:, None]
    return SetEffects(*columns, of_heads, right, greedy, -torch.rand(shape, generator=generator), whole, whole, -whole)


@pytest.fixture(scope="module")
def tasks():
    return {"one": effects(0, 6), "two": effects(1, 9)}


@pytest.mark.parametrize(("measure", "field"), [("accuracy", "correct"), ("exact_match", "greedy")])
def test_a_mean_is_a_loop_over_tasks_draws_and_documents(tasks, measure, field):
    table = compare.mean_effects(tasks).set_index(["kind", "without_others", "measure"])
    for (kind, alone), place in {("a", False): 0, ("a", True): 1, ("b", False): 2}.items():
        row = table.loc[kind, alone, measure]
        falls = []
        for task in tasks.values():
            values = getattr(task, field)[place].tolist()
            falls.append([fmean(draw[n] for draw in values[1:]) - values[0][n] for n in range(task.n)])
        means = [fmean(values) for values in falls]
        assert row["beyond_random"] == pytest.approx(fmean(means))
        by_draw = [
            fmean(float(getattr(task, field)[place, draw].mean()) for task in tasks.values()) for draw in (1, 2, 3)
        ]
        assert row["random"] == pytest.approx(fmean(by_draw))
        assert row["random_spread"] == pytest.approx(stdev(by_draw))
        variance = sum(stdev(values) ** 2 / len(values) for values in falls) / 4 + stdev(by_draw) ** 2 / 3
        assert row["beyond_random_stderr"] == pytest.approx(sqrt(variance))
        reach = T_OF_ONE_DEGREE * stdev(means) / sqrt(2)
        assert row["beyond_random_high"] == pytest.approx(fmean(means) + reach, rel=1e-4)
        assert row["tasks"] == 2
    assert ("b", True, measure) not in table.index


def test_sets_that_share_no_head_with_others_stand_for_those_without_them(tasks):
    disjoint = [("a", 5.0, False), ("b", 5.0, False)]
    apart = effects(2, 6, [[1, 0, 0, 0], [0, 1, 0, 0]], disjoint)
    assert compare.set_index(apart, "b", 5.0, True) == 1
    assert compare.set_index(tasks["one"], "b", 5.0, True) is None
    assert compare.set_index(tasks["one"], "a", 5.0, True) == 1
    table = compare.mean_effects(tasks | {"three": apart}).set_index(["kind", "without_others", "measure"])
    assert table.loc["b", True, "log_p"]["tasks"] == 1
    assert table.loc["b", True, "log_p"]["value"] == pytest.approx(float(apart.gold_log_p[1, 0].mean()))
    assert isnan(table.loc["b", True, "log_p"]["beyond_random_low"])  # one task says nothing of others


def test_two_kinds_are_compared_document_by_document(tasks):
    result = compare.kind_difference(tasks, "a", "b", 5.0, False, "exact_match")
    falls = [(task.greedy[2, 0] - task.greedy[0, 0]).tolist() for task in tasks.values()]
    assert result.mean == pytest.approx(fmean(map(fmean, falls)))
    assert result.stderr == pytest.approx(sqrt(sum(stdev(values) ** 2 / len(values) for values in falls)) / 2)
    assert compare.kind_difference(tasks, "a", "b", 5.0, True, "exact_match") is None


def test_a_measure_without_meaning_in_a_task_leaves_the_task_out(tasks):
    unknown = torch.full_like(tasks["one"].whole_greedy, torch.nan)
    tasks = tasks | {"one": replace(tasks["one"], whole_greedy=unknown)}
    table = compare.mean_effects(tasks).set_index(["kind", "without_others", "measure"])
    assert table.loc["a", False, "exact_match"]["tasks"] == 1
    assert table.loc["a", False, "accuracy"]["tasks"] == 2


def test_bad_input_is_refused(tasks):
    with pytest.raises(InputError, match="at least one task, got none"):
        compare.mean_effects({})
    one = tasks["one"]
    fewer = replace(one, **{name: getattr(one, name)[:, :3] for name in ("correct", "greedy", "gold_log_p")})
    with pytest.raises(InputError, match=r"as many random sets in each, got \{'one': 3, 'two': 2\}"):
        compare.mean_effects({"one": one, "two": fewer})
