"""Areas under curves of removal, and verdicts on heads."""

import numpy as np
import pytest
import torch
from scipy import stats

from headcount.results import InputError, PruningCurve
from headcount.stats.compare import area, faithfulness, head_verdicts
from headcount.stats.removal.verdicts import NEGLIGIBLE


def curve(log_p, percents=(0, 20, 50, 100), greedy=None):
    """A curve of one seed or more, from log-probabilities [seed, step, document]."""
    log_p = torch.tensor(log_p, dtype=torch.float32)
    seeds, steps, documents = log_p.shape
    return PruningCurve(
        component="heads",
        strategy="random" if seeds > 1 else "static",
        percents=percents,
        removed=tuple(range(steps)),
        parameters=(0.0,) * steps,
        seeds=tuple(range(seeds)),
        order=torch.arange(4.0).repeat(seeds, 1),
        correct=(log_p > -1).float(),
        gold_log_p=log_p,
        margin=torch.zeros(seeds, steps, documents),
        chance=0.25,
        majority=0.25,
        greedy=greedy,
    )


RANDOM = np.random.default_rng(0).normal(size=(2, 4, 7)) - [[0.0], [1.0], [2.0], [6.0]]


def test_an_area_is_the_mean_of_trapezoids_document_by_document():
    areas = []
    for document in range(7):
        heights = RANDOM.mean(0)[:, document]
        pieces = [(heights[0] + heights[1]) / 2 * 20, (heights[1] + heights[2]) / 2 * 30]
        areas.append((sum(pieces) + (heights[2] + heights[3]) / 2 * 50) / 100)
    value, stderr = area(curve(RANDOM))
    assert value == pytest.approx(np.mean(areas), abs=1e-6)
    assert stderr == pytest.approx(np.std(areas, ddof=1) / 7**0.5, abs=1e-6)


def test_a_difference_of_areas_is_paired_by_document():
    other = RANDOM + 1
    value, stderr = area(curve(RANDOM), minus=curve(other))
    assert (value, stderr) == pytest.approx((-1, 0), abs=1e-6)
    with pytest.raises(InputError, match="same documents and percentages"):
        area(curve(RANDOM), minus=curve(RANDOM[..., :5]))


def test_the_area_of_a_level_curve_is_its_height_whatever_the_steps():
    for percents in ((0, 10, 20, 90), (0, 1, 2, 3)):
        assert area(curve(np.full((1, 4, 3), -2.5), percents)) == pytest.approx((-2.5, 0))


def test_what_an_area_cannot_be_of_is_refused():
    with pytest.raises(InputError, match="did not record greedy exact match"):
        area(curve(RANDOM), "greedy")
    with pytest.raises(InputError, match="measure must be one of"):
        area(curve(RANDOM), "accuracy")
    with pytest.raises(InputError, match="two steps or more"):
        area(curve(RANDOM[:, :1], percents=(0,)))


def test_faithfulness_of_curves_that_are_known():
    def scores(heights, percents=(0, 20, 50, 100)):
        return faithfulness(curve(np.array(heights, dtype=float)[None, :, None].repeat(5, 2), percents))

    linear = scores([0, -2, -5, -10])
    assert (linear.cpr, linear.cmd) == pytest.approx((0.5, 0.5))
    late = scores([0, 0, 0, -10])
    assert (late.cpr, late.cmd) == pytest.approx((0.75, 0.25))
    better = scores([0, 10, 10, -10])  # f = 1, 2, 2, 0
    assert better.cpr == pytest.approx((1.5 * 20 + 2 * 30 + 1 * 50) / 100)
    assert better.cmd == pytest.approx((0.5 * 20 + 1 * 30 + 1 * 50) / 100)
    assert better.cpr_interval == pytest.approx((better.cpr, better.cpr))


def test_faithfulness_covers_documents_and_refuses_where_nothing_is_lost():
    result = faithfulness(curve(RANDOM))
    assert result.cpr_interval[0] < result.cpr < result.cpr_interval[1]
    assert result == faithfulness(curve(RANDOM))
    with pytest.raises(InputError, match="ends at 100 %, not at 90 %"):
        faithfulness(curve(RANDOM, percents=(0, 20, 50, 90)))
    with pytest.raises(InputError, match="nothing is lost"):
        faithfulness(curve(-RANDOM - 10))


def falls(mean, documents=40, spread=0.05, seed=0):
    return mean + spread * np.random.default_rng(seed).normal(size=documents)


def verdict(alone, matched, within):
    table = [np.stack([values, falls(0, seed=9)], 1) for values in (alone, matched, within)]
    return head_verdicts(*table)[0].verdict


def test_each_class_is_what_its_name_says():
    nothing = falls(0, seed=1)
    assert verdict(falls(1.0), nothing, nothing) == "primary"
    assert verdict(falls(1.0), falls(1.0, seed=2), falls(1.0, seed=3)) == "secondary"  # as any head of its layer
    assert verdict(nothing, nothing, falls(1.0)) == "secondary"
    assert verdict(falls(-1.0), nothing, falls(1.0)) == "interferer"
    assert verdict(nothing, nothing, falls(0, seed=4)) == "correlate"
    assert verdict(falls(NEGLIGIBLE / 2, spread=0.001), nothing, nothing) == "correlate"
    assert verdict(falls(0.1, spread=2.0), nothing, nothing) == "undecided"


def test_effects_are_paired_means_with_students_interval_and_corrected_p():
    generator = np.random.default_rng(3)
    alone, matched, within = generator.normal(0.1, 1, size=(3, 12, 6))
    results = head_verdicts(alone, matched, within)
    plain = [stats.ttest_1samp(alone[:, head] - matched[:, head], 0) for head in range(6)]
    by_p = sorted(range(6), key=lambda head: plain[head].pvalue)
    corrected, lowest = {}, 1.0
    for rank in range(6, 0, -1):  # Benjamini and Hochberg, from the largest p-value down
        head = by_p[rank - 1]
        lowest = min(lowest, plain[head].pvalue * 6 / rank)
        corrected[head] = lowest
    for head, result in enumerate(results):
        interval = plain[head].confidence_interval()
        assert result.beyond == pytest.approx(
            ((alone - matched)[:, head].mean(), interval.low, interval.high, corrected[head])
        )
        assert result.within.mean == pytest.approx(within[:, head].mean())


def test_of_heads_that_do_nothing_few_are_called_needed():
    generator = np.random.default_rng(5)
    alone, matched, within = generator.normal(0, 1, size=(3, 30, 400))
    named = [result.verdict for result in head_verdicts(alone, matched, within)]
    assert sum(name in ("primary", "secondary", "interferer") for name in named) <= 4


def test_one_document_is_not_enough():
    with pytest.raises(InputError, match="two documents or more"):
        head_verdicts(*np.zeros((3, 1, 4)))
    with pytest.raises(InputError, match="the same heads"):
        head_verdicts(np.zeros((3, 4)), np.zeros((3, 4)), np.zeros((3, 2)))
