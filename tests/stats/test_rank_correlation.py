"""Rank correlations: equal to their definitions and to SciPy, and honest about noise, layers and argsort."""

import json
import math
from dataclasses import asdict

import hypothesis.extra.numpy as npst
import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from reference import comparisons as reference

from headcount.results import Correlation, HeadScores, InputError, LayerScores
from headcount.stats import compare

pairs_of_maps = st.tuples(st.integers(2, 4), st.integers(2, 4)).flatmap(
    lambda shape: st.tuples(*[npst.arrays(np.float32, shape, elements=st.integers(-4, 4))] * 2)
)


def draws(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def measured(truth: torch.Tensor, noise: float, seed: int, folds: int = 10) -> HeadScores:
    """Scores of `truth` from folds that each miss it by `noise` · sqrt(folds), so that their mean misses by `noise`."""
    found = truth + noise * folds**0.5 * draws(folds, *truth.shape, seed=seed)
    return HeadScores(found.mean(0), folds=found, n=100)


def rho(a: object, b: object, **settings: object) -> float:
    return compare.spearman(HeadScores(a), HeadScores(b), resamples=0, **settings).rho


@settings(deadline=None)
@given(pairs_of_maps)
def test_spearman_equals_the_definition_and_scipy_with_ties(maps: tuple[np.ndarray, np.ndarray]) -> None:
    a, b = maps
    assume(np.ptp(a) > 0 and np.ptp(b) > 0)
    found = compare.spearman(HeadScores(a), HeadScores(b), resamples=0)
    wanted = scipy.stats.spearmanr(a.flatten(), b.flatten())
    assert found.rho == pytest.approx(reference.spearman(a.flatten().tolist(), b.flatten().tolist()), abs=1e-12)
    assert found.rho == pytest.approx(wanted.statistic, abs=1e-12)
    assert found.p_value == pytest.approx(wanted.pvalue, abs=1e-6)
    assert -1 <= found.rho <= 1
    assert rho(b, a) == pytest.approx(found.rho, abs=1e-12)


@settings(deadline=None)
@given(pairs_of_maps)
def test_ranks_within_layers_equal_the_definition(maps: tuple[np.ndarray, np.ndarray]) -> None:
    a, b = maps
    assume((np.ptp(a, 1) > 0).any() and (np.ptp(b, 1) > 0).any())
    wanted = reference.spearman_within(a.tolist(), b.tolist())
    assert rho(a, b, within="layer") == pytest.approx(wanted, abs=1e-12)


@settings(deadline=None)
@given(pairs_of_maps)
def test_argsort_equals_the_definition(maps: tuple[np.ndarray, np.ndarray]) -> None:
    a, b = (each.flatten().tolist() for each in maps)
    assert rho(*maps, variant="argsort") == pytest.approx(reference.argsort_correlation(a, b), abs=1e-12)


def test_a_monotone_transform_changes_nothing() -> None:
    a, b = draws(4, 5), draws(4, 5, seed=1)
    assert rho(a, b) == rho(a.exp(), b**3) == -rho(-a, b)
    by_layer = torch.arange(4.0)[:, None]
    assert rho(a, b, within="layer") == rho(a + 10 * by_layer, b, within="layer")


def test_layer_structure_alone_is_seen_in_the_null() -> None:
    trend = 0.1 * torch.arange(24.0)[:, None]
    a, b = trend + draws(24, 12), trend + draws(24, 12, seed=1)
    found = compare.spearman(HeadScores(a), HeadScores(b))
    assert found.p_value < 1e-5
    assert found.null_mean == pytest.approx(found.rho, abs=0.1)
    assert found.null_p > 0.01
    inside = compare.spearman(HeadScores(a), HeadScores(b), within="layer")
    assert abs(inside.rho) < 0.15
    assert inside.p_value == inside.null_p > 0.05
    shared = draws(24, 12, seed=2)
    agreeing = compare.spearman(HeadScores(a + 2 * shared), HeadScores(b + 2 * shared))
    assert agreeing.null_high < agreeing.rho
    assert agreeing.null_p == pytest.approx(1 / 1001)


@pytest.mark.parametrize("within", [None, "layer"])
def test_the_null_is_that_of_all_permutations_within_layers(within: str | None) -> None:
    a, b = draws(2, 4), draws(2, 4, seed=1) + torch.tensor([[0.0], [2.0]])
    over_all = lambda x, y: reference.spearman(reference.joined(x), reference.joined(y))  # noqa: E731
    correlate = reference.spearman_within if within else over_all
    exact = np.array([correlate(a.tolist(), moved) for moved in reference.rearrangements(b.tolist())])
    found = compare.spearman(HeadScores(a), HeadScores(b), within=within, resamples=5000)
    assert found.null_mean == pytest.approx(exact.mean(), abs=1e-9)
    low, high = np.quantile(exact, [0.025, 0.975])
    assert (found.null_low, found.null_high) == (pytest.approx(low, abs=0.05), pytest.approx(high, abs=0.05))
    as_far = np.abs(exact - exact.mean()) >= abs(found.rho - exact.mean()) - 1e-9
    assert found.null_p == pytest.approx(as_far.mean(), abs=0.03)


def test_the_null_of_argsort_is_that_of_all_permutations_within_layers() -> None:
    a, b = draws(2, 4), draws(2, 4, seed=1)
    first, rearranged = reference.joined(a.tolist()), map(reference.joined, reference.rearrangements(b.tolist()))
    moved = [reference.argsort_correlation(first, second) for second in rearranged]
    found = compare.spearman(HeadScores(a), HeadScores(b), variant="argsort", resamples=5000)
    assert found.null_mean == pytest.approx(np.mean(moved), abs=1e-9)
    assert found.null_high == pytest.approx(np.quantile(moved, 0.975), abs=0.05)


def test_argsort_is_near_0_without_layer_structure_whatever_the_agreement() -> None:
    a = draws(64, 72)
    b = a + 0.2 * draws(64, 72, seed=1)
    assert rho(a, b) == pytest.approx(0.98, abs=0.005)
    assert abs(rho(a, b, variant="argsort")) < 0.05


def test_argsort_sees_a_layer_trend_and_hardly_anything_else() -> None:
    trend = 0.0635 * torch.arange(64.0)[:, None]
    a, b = trend + draws(64, 72), trend + draws(64, 72, seed=1)
    close = a + 0.1 * draws(64, 72, seed=2)
    assert rho(a, b) == pytest.approx(0.59, abs=0.03)
    assert rho(a, b, variant="argsort") == pytest.approx(0.59, abs=0.03)
    assert rho(a, close) > 0.99
    assert rho(a, close, variant="argsort") == pytest.approx(0.59, abs=0.03)


@pytest.mark.parametrize(("true", "noise"), [(0.3, 1.0), (0.9, 0.1), (0.9, 0.4)])
def test_intervals_cover_what_other_examples_would_give(true: float, noise: float) -> None:
    a = draws(10, 9)
    b = true * a + (1 - true**2) ** 0.5 * draws(10, 9, seed=1)
    found = [
        compare.spearman(measured(a, noise, seed), measured(b, noise, 1000 + seed), resamples=100)
        for seed in range(2, 102)
    ]
    expected = np.mean([each.rho for each in found])
    covered = np.mean([each.low <= expected <= each.high for each in found])
    assert covered >= 0.9
    assert all(each.low <= each.rho <= each.high for each in found)


def test_ceiling_is_about_the_rho_of_equal_rankings_measured_twice() -> None:
    truth = draws(20, 10)
    found = compare.spearman(measured(truth, 0.5, 1), measured(truth, 0.5, 2))
    assert found.ceiling == pytest.approx(found.rho, abs=0.05)
    assert found.ceiling < 0.9


def test_without_folds_there_is_no_interval_and_one_side_is_enough() -> None:
    fixed, a = HeadScores(draws(5, 6)), measured(draws(5, 6), 0.3, 1)
    neither = compare.spearman(fixed, fixed)
    assert math.isnan(neither.low)
    assert math.isnan(neither.high)
    assert math.isnan(neither.ceiling)
    either = compare.spearman(fixed, a)
    assert -1 < either.low < either.rho < either.high < 1
    assert math.isnan(either.ceiling)


def test_equal_scores_have_rho_1_and_a_finite_interval() -> None:
    a = measured(draws(5, 6), 0.01, 1)
    found = compare.spearman(a, a)
    assert found.rho == pytest.approx(1)
    assert 0.9 < found.low <= found.rho <= found.high <= 1


def test_what_was_not_measured_is_left_out_and_counted() -> None:
    a, b = draws(3, 4), draws(3, 4, seed=1)
    a[0, 1] = math.nan
    b[2, 3] = math.nan
    kept = ~(a.isnan() | b.isnan())
    found = compare.spearman(HeadScores(a), HeadScores(b))
    assert found.n == 10
    assert found.rho == pytest.approx(reference.spearman(a[kept].tolist(), b[kept].tolist()))
    layers = [[x[kept[layer]].tolist() for layer, x in enumerate(each)] for each in (a, b)]
    assert rho(a, b, within="layer") == pytest.approx(reference.spearman_within(*layers))


def test_constant_scores_have_no_rho() -> None:
    found = compare.spearman(HeadScores(torch.ones(2, 3)), HeadScores(draws(2, 3)))
    assert all(math.isnan(value) for value in (found.rho, found.p_value, found.null_p))


def test_layer_scores_have_no_null() -> None:
    found = compare.spearman(LayerScores([1, 2, 3, 4]), LayerScores([1, 3, 2, 4]))
    assert found.rho == pytest.approx(0.8)
    assert math.isnan(found.null_mean)


def test_the_same_seed_gives_the_same_and_json_holds_it() -> None:
    a, b = measured(draws(3, 4), 0.5, 1), measured(draws(3, 4), 0.5, 2)
    first, again = (compare.spearman(a, b, seed=3, resamples=50) for _ in range(2))
    assert first == again
    assert Correlation(**json.loads(json.dumps(asdict(first)))) == first
    assert compare.spearman(a, b, seed=4, resamples=50) != first


@pytest.mark.parametrize(
    ("a", "b", "arguments", "message"),
    [
        (draws(2, 3), draws(3, 2), {}, r"one shape, got a of \[2, 3\] and b of \[3, 2\]"),
        (draws(1, 2), draws(1, 2), {}, "at least 3 entries measured in all of a, b, got 2 of 2"),
        (draws(2, 3), draws(2, 3), {"variant": "pearson"}, "variant must be one of spearman, argsort, not 'pearson'"),
        (draws(2, 3), draws(2, 3), {"within": "head"}, "within must be None or 'layer', not 'head'"),
        (draws(2, 3), draws(2, 3), {"variant": "argsort", "within": "layer"}, "within='layer' needs spearman"),
        (draws(2, 3), draws(2, 3), {"resamples": 1}, r"resamples must be 0 \(no intervals\) or at least 2, not 1"),
    ],
)
def test_what_cannot_be_compared_is_refused(a, b, arguments: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        compare.spearman(HeadScores(a), HeadScores(b), **arguments)


def test_layers_have_no_ranks_within() -> None:
    with pytest.raises(InputError, match="needs scores of heads, got LayerScores"):
        compare.spearman(LayerScores([1, 2, 3]), LayerScores([1, 2, 3]), within="layer")


def test_matrix_is_every_pair() -> None:
    truth = draws(4, 5)
    scores = {
        name: measured(truth, noise, seed) for seed, (name, noise) in enumerate({"a": 0.3, "b": 0.6, "c": 2}.items())
    }
    found = compare.matrix(scores, resamples=300)
    assert found.names == ("a", "b", "c")
    assert np.array(found.rho).diagonal().tolist() == [1, 1, 1]
    for table in (found.rho, found.p_value, found.low, found.high, found.null_mean, found.null_p, found.ceiling):
        assert np.array_equal(np.array(table), np.array(table).T)
    alone = compare.spearman(scores["a"], scores["c"], resamples=300)
    assert found.rho[0][2] == pytest.approx(alone.rho)
    assert found.p_value[0][2] == pytest.approx(alone.p_value)
    assert found.low[0][2] == pytest.approx(alone.low, abs=0.05)
    assert found.null_high[0][2] == pytest.approx(alone.null_high, abs=0.1)
    frame = found.to_frame()
    assert list(frame)[:4] == ["first", "second", "rho", "p_value"]
    assert len(frame) == 9
    assert frame[(frame["first"] == "a") & (frame["second"] == "c")]["rho"].item() == found.rho[0][2]
    json.dumps(asdict(found))


def test_matrix_needs_scores() -> None:
    with pytest.raises(InputError, match="expected at least one set of scores, got none"):
        compare.matrix({})


def test_reliability_is_the_mean_over_halvings() -> None:
    folds = draws(3, 8) * 0.5 + draws(8, seed=1)
    found = compare.reliability(LayerScores(folds.mean(0), folds=folds), halvings=200)
    halves = [reference.split_half(folds.tolist(), [first]) for first in range(3)]
    assert found.lowest == pytest.approx(min(halves))
    assert found.highest == pytest.approx(max(halves))
    assert found.rho == pytest.approx(np.mean(halves), abs=0.05)
    assert found.corrected == pytest.approx(2 * found.rho / (1 + found.rho))
    regular = compare.reliability(LayerScores(folds.mean(0), folds=folds), halvings=1)
    assert regular.rho == pytest.approx(reference.split_half(folds.tolist(), [1]))


def test_reliability_is_1_without_noise_and_about_0_of_noise() -> None:
    truth = draws(10, 10)
    assert compare.reliability(HeadScores(truth, folds=truth.repeat(10, 1, 1))).corrected == pytest.approx(1)
    assert abs(compare.reliability(measured(torch.zeros(10, 10), 1, 1)).rho) < 0.25
    with pytest.raises(InputError, match="at least two folds"):
        compare.reliability(HeadScores(truth))
    with pytest.raises(InputError, match="halvings must be at least 1, not 0"):
        compare.reliability(measured(truth, 1, 1), halvings=0)


def test_clusters_find_two_obvious_groups() -> None:
    one, other = draws(5, 6), draws(5, 6, seed=1)
    scores = {f"{name}{place}": HeadScores(base + 0.1 * place * draws(5, 6, seed=2 + place))
              for place in range(3) for name, base in (("x", one), ("y", other))}  # fmt: skip
    matrix = compare.matrix(scores, resamples=0)
    found = compare.clusters(matrix)
    assert {name[0] for name in found.order[:3]} in ({"x"}, {"y"})
    assert sorted(found.order) == sorted(scores)
    members = [{name} for name in found.names]
    for merge in found.merges:
        members.append(members[merge.left] | members[merge.right])
        assert len(members[-1]) == merge.size
    wanted = reference.average_linkage(list(scores), [list(row) for row in matrix.rho])
    assert members[6:] == [formed for formed, _ in wanted]
    assert [merge.distance for merge in found.merges] == pytest.approx([distance for _, distance in wanted])


def test_clusters_of_one_and_of_what_has_no_rho() -> None:
    alone = compare.clusters(compare.matrix({"a": HeadScores(draws(2, 3))}, resamples=0))
    assert (alone.order, alone.merges) == (("a",), ())
    flat = compare.matrix({"a": HeadScores(draws(2, 3)), "flat": HeadScores(torch.ones(2, 3))}, resamples=0)
    with pytest.raises(InputError, match="leave out flat: all scores are equal"):
        compare.clusters(flat)


@pytest.mark.parametrize("variant", ["spearman", "argsort"])
def test_across_shots_compares_every_pair_task_by_task(variant: str) -> None:
    scores = {
        shots: {task: HeadScores(draws(3, 4, seed=10 * shots + place)) for place, task in enumerate(tasks)}
        for shots, tasks in {5: "ab", 0: "abc", 1: "ab"}.items()
    }
    found = compare.across_shots(scores, variant=variant, resamples=0)
    assert [pair.shots for pair in found] == [(0, 1), (0, 5), (1, 5)]
    few, many = scores[0], scores[5]
    wanted = [rho(few[task].values, many[task].values, variant=variant) for task in "ab"]
    assert [correlation.rho for correlation in found[1].tasks.values()] == wanted
    assert found[1].mean == pytest.approx(np.mean(wanted))
    assert found[1].variance == pytest.approx(np.var(wanted, ddof=1))
    assert found[1].n == 2


def test_across_shots_needs_a_common_task() -> None:
    with pytest.raises(InputError, match="measured at both 0 and 5 shots, got a and b"):
        compare.across_shots({0: {"a": HeadScores(draws(2, 3))}, 5: {"b": HeadScores(draws(2, 3))}})
