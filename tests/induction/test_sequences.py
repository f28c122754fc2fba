import itertools

import pytest
import torch

from headcount.induction.tokens.sequences import (
    Purpose,
    distinct_sequence,
    draw_tokens,
    period,
    repeat_sequence,
    spread,
)
from headcount.results import InputError

POOL = torch.arange(1_000, 2_000)
BOS = 2


def test_the_papers_hundred_periods() -> None:
    assert [period(index) for index in (0, 1, 99)] == [25, 27, 223]


def test_a_hundred_sequences_are_the_papers() -> None:
    assert spread(100, 223) == [(number, 25 + 2 * number) for number in range(100)]
    assert spread(100, 100) == [(number, 25 + 2 * number) for number in range(38)]


@pytest.mark.parametrize("n", [2, 3, 7, 20, 50, 99, 100, 101, 250, 1_000])
def test_the_periods_are_spread_evenly_over_one_range_for_every_number(n: int) -> None:
    numbers, periods = zip(*spread(n, 10_000), strict=True)
    assert len(set(numbers)) == n
    assert (periods[0], periods[-1]) == (25, 223)
    assert sum(periods) / n == pytest.approx(124, abs=0.6)
    steps = [after - before for before, after in itertools.pairwise(periods)]
    assert max(steps) - min(steps) <= 2


def test_one_sequence_has_the_middle_period_and_none_fits_a_short_context() -> None:
    assert spread(1, 10_000) == [(49, 123)]
    assert spread(5, 24) == []


def test_fewer_sequences_than_fitting_periods_reach_the_longest_that_fits() -> None:
    assert [period for _, period in spread(3, 80)] == [25, 53, 79]


def test_a_repeat_sequence_is_bos_and_four_times_the_same_distinct_tokens() -> None:
    tokens = repeat_sequence(POOL, 25, seed=0, index=0, bos=BOS)
    assert tokens.dtype == torch.int64
    assert tokens.shape == (101,)
    assert tokens[0] == BOS
    repeats = tokens[1:].view(4, 25)
    assert (repeats == repeats[0]).all()
    assert len(repeats[0].unique()) == 25
    assert torch.isin(repeats[0], POOL).all()


def test_a_distinct_sequence_never_repeats_a_token() -> None:
    tokens = distinct_sequence(POOL, len(POOL), seed=0, index=0, bos=BOS)
    assert tokens[0] == BOS
    assert torch.equal(tokens[1:].sort().values, POOL)
    assert not torch.equal(tokens[1:], POOL)


def test_without_bos_the_rest_is_the_same() -> None:
    for with_bos, without in (
        (repeat_sequence(POOL, 25, 0, 3, BOS), repeat_sequence(POOL, 25, 0, 3)),
        (distinct_sequence(POOL, 100, 0, 3, BOS), distinct_sequence(POOL, 100, 0, 3)),
    ):
        assert torch.equal(with_bos[1:], without)


def test_a_sequence_does_not_depend_on_what_else_is_drawn() -> None:
    forwards = [repeat_sequence(POOL, period(index), 7, index) for index in range(5)]
    torch.manual_seed(1)
    backwards = [repeat_sequence(POOL, period(index), 7, index) for index in reversed(range(5))]
    for forward, backward in zip(forwards, reversed(backwards), strict=True):
        assert torch.equal(forward, backward)


def test_seed_index_and_purpose_each_change_the_draw() -> None:
    draws = [
        draw_tokens(POOL, 25, seed=seed, index=index, purpose=purpose)
        for seed in (0, 1, 2**40)
        for index in (0, 1)
        for purpose in Purpose
    ]
    assert len({tuple(tokens.tolist()) for tokens in draws}) == len(draws)


def test_the_draw_is_the_same_on_every_machine() -> None:
    tokens = draw_tokens(torch.arange(10), 10, seed=0, index=0, purpose=Purpose.REPEAT)
    assert tokens.tolist() == [9, 7, 2, 0, 4, 3, 5, 6, 1, 8]


def test_every_token_is_as_likely_as_every_other() -> None:
    pool, draws, count = torch.arange(20), 2_000, 5
    drawn = torch.stack(
        [draw_tokens(pool, count, seed=0, index=index, purpose=Purpose.REPEAT) for index in range(draws)]
    )
    for counts, expected in ((drawn.flatten().bincount(), draws * count / 20), (drawn[:, 0].bincount(), draws / 20)):
        chi_square = ((counts - expected) ** 2 / expected).sum()
        assert chi_square < 43.8  # 19 degrees of freedom, p = 0.001


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: period(-1), "expected a sequence index of 0 or more, got -1"),
        (lambda: repeat_sequence(POOL, 0, 0, 0), "expected 1 token or more to draw, got 0"),
        (lambda: repeat_sequence(POOL, 25, 0, 0, repeats=0), "expected 1 repeat or more, got 0"),
        (lambda: repeat_sequence(POOL, 25, -1, 0), "expected a seed of 0 or more, got -1"),
        (lambda: repeat_sequence(POOL, 25, 0, -3), "expected a sequence index of 0 or more, got -3"),
        (lambda: distinct_sequence(POOL, -4, 0, 0), "expected 1 token or more to draw, got -4"),
        (lambda: distinct_sequence(POOL, 1_001, 0, 0), "expected a pool of at least 1001 tokens, got 1000"),
        (lambda: distinct_sequence(POOL[:0], 1, 0, 0), "expected a pool of at least 1 tokens, got 0"),
        (lambda: distinct_sequence(POOL.repeat(2), 5, 0, 0), "expected a pool of distinct tokens, got 1000 of 2000"),
        (lambda: distinct_sequence(POOL, 5, 0, 0, bos=1_500), "expected a pool without the BOS token, got one with"),
    ],
)
def test_bad_input_says_what_was_expected_and_what_came(call, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()
