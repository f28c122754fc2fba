"""One score of several tasks, and one of a layer's heads, with what is known of their errors."""

import math

import hypothesis.extra.numpy as npst
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import comparisons as reference

from headcount.results import HeadScores, InputError, LayerScores
from headcount.stats import compare


def draws(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def task(draw: int, folds: int = 10, **provenance: object) -> HeadScores:
    found = draws(folds, 3, 4, seed=draw)
    return HeadScores(
        found.mean(0),
        variance=draws(3, 4),
        n=50,
        folds=found,
        measure="head_importance",
        definition="gradient, token",
        provenance={"model": "m", **provenance},
    )


def test_mean_is_that_of_the_raw_scores() -> None:
    tasks = {"piqa": task(0, seed=1), "copa": task(1, seed=2), "rte": task(2, seed=3)}
    found = compare.aggregate(tasks)
    values = torch.stack([one.values for one in tasks.values()])
    torch.testing.assert_close(found.values, values.mean(0))
    torch.testing.assert_close(found.variance, values.var(0))
    torch.testing.assert_close(found.folds[4], torch.stack([one.folds[4] for one in tasks.values()]).mean(0))
    assert (found.n, found.measure, found.definition) == (3, "head_importance", "mean over tasks: gradient, token")
    listed = [{"name": name, "definition": "gradient, token", "n": 50} for name in tasks]
    assert found.provenance == {"model": "m", "aggregate": "mean", "tasks": listed}


@settings(deadline=None)
@given(npst.arrays(np.float32, (3, 2, 4), elements=st.integers(0, 5)))
def test_rank_mean_equals_the_definition(values: np.ndarray) -> None:
    found = compare.aggregate([HeadScores(each) for each in values], how="rank-mean")
    wanted = reference.rank_mean([each.flatten().tolist() for each in values])
    assert found.values.flatten().tolist() == pytest.approx(wanted, abs=1e-6)
    assert found.definition == "rank-mean over tasks: "


def test_rank_mean_does_not_see_a_tasks_scale() -> None:
    small, large = task(0), task(1)
    found = compare.aggregate([small, large], how="rank-mean")
    scaled = compare.aggregate([small, HeadScores(1000 * large.values, measure="head_importance")], how="rank-mean")
    assert torch.equal(found.values, scaled.values)
    assert found.values.min() >= 0
    assert found.values.max() <= 1
    alone = compare.aggregate([small], how="rank-mean").values
    assert (alone.min(), alone.max()) == (0, 1)
    assert scaled.folds is None


def test_folds_of_different_numbers_are_not_mixed() -> None:
    assert compare.aggregate([task(0), task(1, folds=7)]).folds is None


def test_one_task_has_no_variance_over_tasks() -> None:
    found = compare.aggregate({"piqa": task(0)})
    assert found.variance is None
    assert found.n == 1
    assert torch.equal(found.values, task(0).values)


def test_a_sequence_is_named_by_its_tasks_or_by_position() -> None:
    names = lambda *tasks: [each["name"] for each in compare.aggregate(tasks).provenance["tasks"]]  # noqa: E731
    assert names(task(0, task="piqa"), task(1, task="copa")) == ["piqa", "copa"]
    assert names(task(0, task="piqa"), task(1, task="piqa")) == ["0", "1"]
    assert names(task(0), task(1)) == ["0", "1"]


@pytest.mark.parametrize("how", ["mean", "rank-mean"])
def test_what_one_task_did_not_measure_is_nan(how: str) -> None:
    found = compare.aggregate([HeadScores([[1, math.nan, 3]]), HeadScores([[2, 1, 3]])], how=how)
    assert found.values.isnan().tolist() == [[False, True, False]]


def test_layers_aggregate_to_layers() -> None:
    found = compare.aggregate([LayerScores([1, 2]), LayerScores([3, 6])])
    assert isinstance(found, LayerScores)
    assert found.values.tolist() == [2, 4]


@pytest.mark.parametrize(
    ("scores", "arguments", "message"),
    [
        ({}, {}, "expected at least one set of scores, got none"),
        ([HeadScores([[1]]), HeadScores([[1, 2]])], {}, r"one shape, got 0 of \[1, 1\] and 1 of \[1, 2\]"),
        (
            {"a": HeadScores([[1]], measure="copying"), "b": HeadScores([[1]])},
            {},
            "scores of one measure, got a: copying, b: unnamed",
        ),
        ([HeadScores([[1]])], {"how": "median"}, "how must be one of mean, rank-mean, not 'median'"),
    ],
)
def test_what_does_not_add_up_is_refused(scores, arguments: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        compare.aggregate(scores, **arguments)


def test_by_layer_is_the_mean_over_heads_with_its_error_from_the_folds() -> None:
    scores = task(0)
    found = compare.by_layer(scores)
    for layer in range(3):
        heads = scores.values[layer].tolist()
        assert found.values[layer].item() == pytest.approx(sum(heads) / 4)
        of_folds = [sum(fold[layer].tolist()) / 4 for fold in scores.folds]
        assert found.folds[:, layer].tolist() == pytest.approx(of_folds)
        assert found.stderr[layer].item() == pytest.approx(np.std(of_folds, ddof=1) / 10**0.5, rel=1e-5)
    assert (found.n, found.measure, found.definition) == (50, "head_importance", "mean over heads: gradient, token")


def test_by_layer_without_folds_takes_heads_as_independent() -> None:
    found = compare.by_layer(HeadScores([[1, 3], [5, math.nan]], variance=[[2, 6], [4, math.nan]], n=10))
    assert found.values.tolist() == [2, 5]
    assert found.variance.tolist() == [2, 4]
    assert compare.by_layer(HeadScores([[1, 3]])).variance is None


def test_shares_of_layers_add_up_to_1() -> None:
    scores = task(0)
    found = compare.by_layer(scores, share=True)
    total = sum(scores.values.flatten().tolist())
    assert found.values.tolist() == pytest.approx([sum(layer) / total for layer in scores.values.tolist()])
    assert found.values.sum().item() == pytest.approx(1)
    assert found.folds.sum(1).tolist() == pytest.approx([1] * 10)
    assert found.definition == "share of each layer: gradient, token"
    assert compare.by_layer(LayerScores([1, 3]), share=True).values.tolist() == [0.25, 0.75]


def test_layers_without_heads_have_no_share() -> None:
    generator = torch.Generator().manual_seed(0)
    values, variance = torch.rand(3, 4, generator=generator), torch.rand(3, 4, generator=generator)
    folds = torch.rand(5, 3, 4, generator=generator)
    gaps = [torch.full((*part.shape[:-2], 5, 4), math.nan) for part in (values, variance, folds)]
    for part, gap in zip((values, variance, folds), gaps, strict=True):
        gap[..., [0, 2, 3], :] = part
    for options in ({}, {"folds": 2}):
        expected = HeadScores(values, variance=variance, n=9, folds=folds if options else None)
        found = HeadScores(gaps[0], variance=gaps[1], n=9, folds=gaps[2] if options else None)
        expected, found = (compare.by_layer(scores, share=True) for scores in (expected, found))
        torch.testing.assert_close(found.values[[0, 2, 3]], expected.values)
        torch.testing.assert_close(found.variance[[0, 2, 3]], expected.variance)
        assert found.values[[1, 4]].isnan().all()


def test_rank_statistics_leave_out_layers_without_heads() -> None:
    generator = torch.Generator().manual_seed(1)
    a, b = (torch.rand(3, 4, generator=generator) for _ in range(2))
    folds = a + 0.1 * torch.randn(6, 3, 4, generator=generator)
    gaps = [torch.full((*part.shape[:-2], 5, 4), math.nan) for part in (a, b, folds)]
    for part, gap in zip((a, b, folds), gaps, strict=True):
        gap[..., [1, 2, 4], :] = part
    whole, gapped = HeadScores(a, folds=folds), HeadScores(gaps[0], folds=gaps[2])
    other, gapped_other = HeadScores(b), HeadScores(gaps[1])
    for within in (None, "layer"):
        for measure in (compare.spearman, compare.overlap):  # in words, since nan is not equal to itself
            assert repr(measure(gapped, gapped_other, within=within)) == repr(measure(whole, other, within=within))
        assert compare.reliability(gapped, within=within) == compare.reliability(whole, within=within)


def test_the_variance_of_a_share_is_that_of_simulated_shares() -> None:
    values, variance = draws(3, 4) + 1, 0.01 * draws(3, 4, seed=1)
    found = compare.by_layer(HeadScores(values, variance=variance), share=True)
    noise = torch.randn(20000, 3, 4, generator=torch.Generator().manual_seed(2))
    simulated = (values + variance.sqrt() * noise).sum(2)
    simulated = simulated / simulated.sum(1, keepdim=True)
    torch.testing.assert_close(found.variance, simulated.var(0), rtol=0.05, atol=0)


def test_layers_are_returned_as_they_are_and_shares_of_signed_scores_refused() -> None:
    layers = LayerScores([1, -2])
    assert compare.by_layer(layers) is layers
    with pytest.raises(InputError, match=r"ffn: expected scores of at least 0, .* got -2"):
        compare.by_layer(LayerScores([1, -2], measure="ffn"), share=True)
    with pytest.raises(InputError, match="scores: expected a score for every entry, got NaN for 1"):
        compare.by_layer(HeadScores([[1, math.nan]]), share=True)


def test_depths_lie_in_the_middle_of_layers_and_between_them_linearly() -> None:
    scores = HeadScores([[0.0, 2.0], [3.0, 3.0]], folds=[[[0.0, 2.0], [3.0, 3.0]], [[0.0, 0.0], [0.0, 8.0]]])
    found = compare.at_depths(scores, 4)  # depths 1/8, 3/8, 5/8, 7/8 of layers at 1/4 and 3/4
    assert found.values.tolist() == [1.0, 1.5, 2.5, 3.0]
    assert found.folds.tolist() == [[1.0, 1.5, 2.5, 3.0], [0.0, 1.0, 3.0, 4.0]]


@settings(deadline=None)
@given(npst.arrays(np.float32, (6, 3), elements=st.floats(-4, 4, width=16)))
def test_as_many_depths_as_layers_are_the_layers(values: np.ndarray) -> None:
    scores = HeadScores(values)
    torch.testing.assert_close(compare.at_depths(scores, 6).values, compare.by_layer(scores).values)


def test_a_layer_without_scores_is_passed_over_and_none_at_all_is_refused() -> None:
    values = torch.tensor([[1.0], [math.nan], [3.0]])
    assert compare.at_depths(HeadScores(values), 3).values.tolist() == [1.0, 2.0, 3.0]
    for scores, n in ((HeadScores(torch.full((3, 1), math.nan)), 3), (HeadScores(values), 0)):
        with pytest.raises(InputError, match="expected 1 depth or more, and a layer or more that has a score"):
            compare.at_depths(scores, n)
