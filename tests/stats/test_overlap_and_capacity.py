"""Overlaps of the highest heads, and what remains of a score as heads go: equal to their definitions, beside chance."""

import json
import math
from dataclasses import asdict
from itertools import combinations, product

import hypothesis.extra.numpy as npst
import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import comparisons as reference

from headcount.results import HeadScores, InputError, LayerScores
from headcount.stats import compare
from headcount.stats.overlap import shared_by_chance

shapes = st.tuples(st.integers(2, 4), st.integers(2, 5))
pairs_of_maps = shapes.flatmap(
    lambda shape: st.tuples(*[npst.arrays(np.float32, shape, elements=st.integers(0, 4))] * 2)
)


def draws(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def measured(truth: torch.Tensor, noise: float, seed: int) -> HeadScores:
    found = truth + noise * 10**0.5 * draws(10, *truth.shape, seed=seed)
    return HeadScores(found.mean(0), folds=found, n=100)


@settings(deadline=None)
@given(pairs_of_maps, st.sampled_from([0.3, 0.5, 1.0]))
def test_overlap_equals_the_definition(maps: tuple[np.ndarray, np.ndarray], top: float) -> None:
    a, b = maps
    k = math.floor(top * a.size)
    shared = reference.top(a.flatten().tolist(), k) & reference.top(b.flatten().tolist(), k)
    found = compare.overlap(HeadScores(a), HeadScores(b), top=top, resamples=0)
    assert (found.fraction, found.n_top) == (pytest.approx(len(shared) / k), k)
    assert found.chance == pytest.approx(k / a.size)
    assert found.p_value == pytest.approx(scipy.stats.hypergeom.sf(len(shared) - 1, a.size, k, k))


@settings(deadline=None)
@given(pairs_of_maps)
def test_overlap_within_layers_equals_the_definition(maps: tuple[np.ndarray, np.ndarray]) -> None:
    a, b = (reference.top_within(each.tolist(), 0.5) for each in maps)
    found = compare.overlap(*map(HeadScores, maps), top=0.5, within="layer", resamples=0)
    assert (found.fraction, found.n_top) == (pytest.approx(len(a & b) / len(a)), len(a))
    assert found.chance == pytest.approx(found.null_mean)


def test_overlap_with_itself_is_1_and_a_count_is_not_lost_to_rounding() -> None:
    a = HeadScores(draws(10, 10))
    found, again = (compare.overlap(a, a, top=0.29, seed=seed) for seed in (0, 1))
    assert repr(found) == repr(again)  # in words, since an interval that cannot be had is nan and not equal to itself
    assert compare.overlap(a, a, top=0.29).n_top == 29
    assert compare.overlap(a, a).fraction == 1


def test_random_rankings_overlap_as_chance_says() -> None:
    found = [
        compare.overlap(HeadScores(draws(8, 9, seed=2 * s)), HeadScores(draws(8, 9, seed=2 * s + 1)), resamples=0)
        for s in range(200)
    ]
    k, fractions = found[0].n_top, np.array([each.fraction for each in found])
    error = scipy.stats.hypergeom.std(72, k, k) / k / len(found) ** 0.5
    assert fractions.mean() == pytest.approx(k / 72, abs=4 * error)
    inside = (fractions >= found[0].chance_low) & (fractions <= found[0].chance_high)
    assert inside.mean() >= 0.92
    assert np.mean([each.p_value < 0.05 for each in found]) < 0.08


def test_chance_within_groups_counts_every_draw() -> None:
    sides = [[set(choice) for choice in combinations(range(size), k)] for size, k in ((4, 2), (4, 1), (3, 2), (3, 3))]
    counts = np.zeros(4)
    for a, b, c, d in product(*sides):
        counts[len(a & b) + len(c & d)] += 1
    assert shared_by_chance([(4, 2, 1), (3, 2, 3)]) == pytest.approx(counts / counts.sum())


def test_overlap_by_layer_structure_alone_is_seen_in_the_null() -> None:
    trend = 0.3 * torch.arange(20.0)[:, None]
    a, b = HeadScores(trend + draws(20, 10)), HeadScores(trend + draws(20, 10, seed=1))
    found = compare.overlap(a, b)
    assert found.p_value < 1e-10
    assert found.chance_high < found.fraction
    assert found.null_low <= found.fraction <= found.null_high
    assert found.null_p > 0.05


def test_overlap_has_an_interval_from_the_folds() -> None:
    truth = draws(10, 9)
    found = [
        compare.overlap(measured(truth, 0.4, s), measured(truth, 0.4, 500 + s), resamples=100) for s in range(1, 81)
    ]
    expected = np.mean([each.fraction for each in found])
    assert np.mean([each.low <= expected <= each.high for each in found]) >= 0.9
    assert all(0 <= each.low <= each.fraction <= each.high <= 1 for each in found)
    assert math.isnan(compare.overlap(HeadScores(truth), HeadScores(truth)).low)
    json.dumps(asdict(found[0]))


def test_overlap_of_layers_has_no_null() -> None:
    found = compare.overlap(LayerScores([1, 2, 3, 4]), LayerScores([4, 1, 2, 3]), top=0.5)
    assert (found.fraction, found.n_top) == (0.5, 2)
    assert math.isnan(found.null_mean)


@pytest.mark.parametrize(
    ("top", "within", "message"),
    [
        (0, None, "top must be above 0 and at most 1 .*, not 0"),
        (30, None, "top must be above 0 and at most 1 .*, not 30"),
        (math.nan, None, "top must be above 0"),
        (0.1, None, "top=0.1 takes none of 6 entries; raise top"),
        (0.3, "layer", "top=0.3 takes none of 6 entries in any layer; raise top"),
        (0.3, "head", "within must be None or 'layer', not 'head'"),
    ],
)
def test_overlap_of_nothing_is_refused(top: float, within: str | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        compare.overlap(HeadScores(draws(2, 3)), HeadScores(draws(2, 3)), top=top, within=within)


@settings(deadline=None)
@given(pairs_of_maps)
def test_capacity_equals_the_definition_and_falls_from_100_to_0(maps: tuple[np.ndarray, np.ndarray]) -> None:
    score, order = maps[0] + np.float32(0.5), maps[1]
    found = compare.capacity_retained(HeadScores(score), HeadScores(order))
    assert found.dtype == torch.float32
    wanted = reference.capacity(score.flatten().tolist(), order.flatten().tolist())
    assert found.tolist() == pytest.approx(wanted, abs=1e-4)
    assert (found[0], found[-1]) == (100, 0)
    assert (found.diff() <= 0).all()


def test_capacity_goes_by_the_orders_ranking() -> None:
    order = HeadScores([[0.5, math.nan, 0.5], [0.1, 0.9, 0.5]])
    score = HeadScores(torch.arange(1.0, 7).view(2, 3))
    removed = score.values.flatten()[order.ranking()]
    remaining = 100 * (1 - torch.cat([torch.zeros(1), removed.cumsum(0)]) / 21)
    torch.testing.assert_close(compare.capacity_retained(score, order), remaining, atol=1e-4, rtol=0)


def test_capacity_within_layers_takes_the_lowest_of_every_layer_first() -> None:
    score = HeadScores([[1, 2], [4, 8]])
    order = HeadScores([[1, 2], [30, 20]])
    wanted = [100 * left / 15 for left in (15, 14, 6, 4, 0)]
    assert compare.capacity_retained(score, order, within="layer").tolist() == pytest.approx(wanted)


def test_capacity_leaves_out_layers_without_heads() -> None:
    generator = torch.Generator().manual_seed(0)
    score, order = (torch.rand(5, 4, generator=generator) for _ in range(2))
    folds = order + 0.1 * torch.randn(6, 5, 4, generator=generator)
    layers = [1, 2, 4]
    with_gaps = [values.clone() for values in (score, order, folds)]
    for values in with_gaps:
        values[..., [0, 3], :] = math.nan
    for within in (None, "layer"):
        expected = compare.capacity(
            HeadScores(score[layers]), HeadScores(order[layers], folds=folds[:, layers]), within=within
        )
        found = compare.capacity(HeadScores(with_gaps[0]), HeadScores(with_gaps[1], folds=with_gaps[2]), within=within)
        assert found == expected
        assert len(found.curve) == 13
    plain = reference.capacity(score[layers].flatten().tolist(), order[layers].flatten().tolist())
    retained = compare.capacity_retained(HeadScores(with_gaps[0]), HeadScores(with_gaps[1]))
    assert retained.tolist() == pytest.approx(plain, abs=1e-4)
    with pytest.raises(InputError, match="got NaN for 8"):  # heads that the order knows and the score does not
        compare.capacity_retained(HeadScores(with_gaps[0]), HeadScores(order))


def test_capacity_of_layers() -> None:
    found = compare.capacity_retained(LayerScores([1, 3]), LayerScores([2, 1]))
    assert found.tolist() == [100, 25, 0]
    assert math.isnan(compare.capacity(LayerScores([1, 3]), LayerScores([2, 1])).null_mean[1])


@pytest.mark.parametrize("within", [None, "layer"])
def test_capacity_carries_a_band_and_a_null(within: str | None) -> None:
    truth = draws(6, 8)
    score, order = HeadScores(truth.exp()), measured(truth, 0.3, 1)
    found = compare.capacity(score, order, within=within)
    curve = compare.capacity_retained(score, order, within=within)
    frame = found.to_frame()
    assert list(frame) == ["removed", "curve", "low", "high", "null_mean", "null_low", "null_high"]
    assert frame["curve"].tolist() == pytest.approx(curve.tolist(), abs=1e-4)
    assert (frame["low"] <= frame["curve"]).all()
    assert (frame["curve"] <= frame["high"]).all()
    assert (frame["null_low"] <= frame["null_mean"] + 1e-9).all()
    assert (frame["null_mean"] <= frame["null_high"] + 1e-9).all()
    assert frame["curve"][24] > frame["null_high"][24]
    assert found == compare.capacity(score, order, within=within)
    json.dumps(asdict(found))


def test_bands_of_capacity_cover_what_other_examples_would_give() -> None:
    truth = draws(10, 9)
    score = HeadScores((truth + draws(10, 9, seed=1)).exp())
    found = [compare.capacity(score, measured(truth, 0.4, seed), resamples=100) for seed in range(2, 62)]
    expected = np.mean([each.curve for each in found], axis=0)
    covered = [(np.array(each.low) <= expected + 1e-9) & (expected <= np.array(each.high) + 1e-9) for each in found]
    assert np.mean(covered) >= 0.9


def test_the_null_of_capacity_is_that_of_all_permutations_within_layers() -> None:
    score, order = draws(2, 4).exp(), draws(2, 4, seed=1)
    flat = score.flatten().tolist()
    moved = map(reference.joined, reference.rearrangements(order.tolist()))
    exact = [reference.capacity(flat, each) for each in moved]
    found = compare.capacity(HeadScores(score), HeadScores(order), resamples=4000)
    assert found.null_mean == pytest.approx(np.mean(exact, axis=0).tolist(), abs=1)


def test_capacity_without_folds_or_resamples_has_the_curve_only() -> None:
    score, order = HeadScores(draws(2, 3).exp()), measured(draws(2, 3), 0.1, 1)
    assert all(map(math.isnan, compare.capacity(score, HeadScores(order.values)).low))
    nothing = compare.capacity(score, order, resamples=0)
    assert all(map(math.isnan, (*nothing.low, *nothing.null_mean)))
    assert nothing.curve[0] == 100


@pytest.mark.parametrize(
    ("score", "arguments", "message"),
    [
        (
            [[1, -0.5], [0, 0]],
            {},
            "score: expected scores of at least 0, .* got -0.5; take a definition that is not signed",
        ),
        ([[1, math.nan], [0, 0]], {}, "score: expected a score for every entry, got NaN for 1"),
        ([[0, 0], [0, 0]], {}, "score: expected a sum above 0"),
        ([[1, 2, 3]], {}, r"one shape, got score of \[1, 3\] and order of \[2, 2\]"),
        ([[1, 2], [3, 4]], {"within": "head"}, "within must be None or 'layer', not 'head'"),
    ],
)
def test_capacity_of_what_has_no_share_is_refused(score: list, arguments: dict, message: str) -> None:
    for measure in (compare.capacity_retained, compare.capacity):
        with pytest.raises(InputError, match=message):
            measure(HeadScores(score), HeadScores([[1, 2], [3, 4]]), **arguments)


def test_a_layer_has_no_order_within() -> None:
    with pytest.raises(InputError, match="needs scores of heads, got LayerScores"):
        compare.capacity_retained(LayerScores([1, 2]), LayerScores([1, 2]), within="layer")
