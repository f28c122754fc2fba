"""The head atlas's detectors on patterns: equal to plain loops, 1 on what they describe, known on uniform attention."""

from math import isnan, log

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from reference import atlas as reference
from torch import Tensor

from headcount.induction.formulas.head_detectors import DETECTORS, weighted_attention
from headcount.induction.formulas.prefix_matching import prefix_matching_score

BY_NAME = {detector.__name__: detector for detector in DETECTORS}
names = pytest.mark.parametrize("name", BY_NAME)


def score(name: str, pattern: Tensor, tokens: Tensor, rows: int = 1000) -> float:
    """The mean over queries that count, from blocks of rows, as the pass takes them."""
    parts = []
    for start in range(0, len(pattern), rows):
        stop = min(start + rows, len(pattern))
        query = torch.arange(start, stop)
        parts.append(BY_NAME[name](pattern[None, None, start:stop, :stop], query, tokens[None, :stop])[0, 0])
    return torch.cat(parts).nanmean().item()


def one_key(length: int, key_of) -> Tensor:
    """A pattern whose queries attend to one key each."""
    pattern = torch.zeros(length, length)
    for query in range(length):
        pattern[query, key_of(query)] = 1
    return pattern


REPEATED = torch.tensor([2, *[7, 3, 9, 5] * 4])
PERFECT = {
    "previous_token": one_key(17, lambda j: max(j - 1, 0)),
    "duplicate_token": one_key(17, lambda j: j - 4 if j > 4 else 0),
    "induction": one_key(17, lambda j: j - 3 if j > 4 else 0),
    "self_attention": torch.eye(17),
    "first_token": one_key(17, lambda j: 0),
    "first_token_share": one_key(17, lambda j: 0),
    "entropy": torch.ones(17, 17).tril() / torch.arange(1, 18)[:, None],
    "offset_two": one_key(17, lambda j: max(j - 2, 0)),
}


@names
def test_a_pattern_that_a_detector_describes_scores_exactly_one(name):
    assert score(name, PERFECT[name], REPEATED) == pytest.approx(1.0, abs=1e-6 if name == "entropy" else 0)
    others = [score(name, PERFECT[other], REPEATED) for other in ("previous_token", "self_attention")]
    assert name in ("previous_token", "self_attention") or max(others) < 0.2


@names
@given(seed=st.integers(0, 100), rows=st.sampled_from([3, 8, 40]))
def test_every_detector_equals_the_plain_loop_whatever_the_blocks(name, seed, rows):
    draw = torch.Generator().manual_seed(seed)
    pattern = torch.rand(21, 21, generator=draw).pow(4).tril()
    pattern /= pattern.sum(-1, keepdim=True)
    tokens = torch.randint(0, 6, (21,), generator=draw)
    assert score(name, pattern, tokens, rows) == pytest.approx(reference.score(name, pattern, tokens), abs=1e-5)


def test_uniform_attention_has_the_value_that_chance_gives():
    """Each key has 1 / (j + 1), j counted from 0; the tokens are BOS and four repeats of four."""
    pattern = PERFECT["entropy"]

    def mean(first, value):
        return sum(value(j) / (j + 1) for j in range(first, 17)) / (17 - first)

    expected = {
        "previous_token": mean(2, lambda j: 1),
        "offset_two": mean(3, lambda j: 1),
        "self_attention": mean(1, lambda j: 1),
        "first_token": mean(1, lambda j: 1),
        "first_token_share": 2 / 16,  # 1/2 and 1/3 are above 0.3, 1/4 is not
        "duplicate_token": mean(5, lambda j: (j - 1) // 4),
        "induction": mean(5, lambda j: (j - 1) // 4),
        "entropy": 1.0,
    }
    assert {name: score(name, pattern, REPEATED) for name in BY_NAME} == pytest.approx(expected, abs=1e-6)


@given(seed=st.integers(0, 50), bos=st.booleans())
def test_induction_on_repeats_is_prefix_matching(seed, bos):
    draw = torch.Generator().manual_seed(seed)
    tokens = (torch.randperm(20, generator=draw)[:5] + 3).repeat(4)
    tokens = torch.cat([torch.tensor([2]), tokens]) if bos else tokens
    pattern = torch.rand(len(tokens), len(tokens), generator=draw).tril().softmax(-1)
    assert score("induction", pattern, tokens) == pytest.approx(prefix_matching_score(pattern, 5).item(), abs=1e-6)


def test_where_a_token_comes_twice_in_a_row_the_second_is_no_successor():
    assert isnan(score("induction", torch.eye(3), torch.tensor([1, 5, 5])))
    assert score("duplicate_token", one_key(3, lambda j: max(j - 1, 0)), torch.tensor([1, 5, 5])) == 1


def test_entropy_of_one_key_is_zero_and_of_two_their_share():
    assert score("entropy", torch.eye(5), torch.arange(5)) == 0.0
    pattern = torch.zeros(4, 4)
    pattern[:, 0], pattern[1:, 1] = 0.5, 0.5
    expected = sum(log(2) / log(j + 1) for j in range(1, 4)) / 3
    assert score("entropy", pattern, torch.arange(4)) == pytest.approx(expected, abs=1e-6)


def test_a_function_of_positions_weighs_keys_up_to_the_query():
    pattern = torch.rand(1, 2, 9, 9, generator=torch.Generator().manual_seed(0)).tril()
    for start, stop in ((0, 9), (4, 7)):
        query = torch.arange(start, stop)
        part = pattern[:, :, start:stop, :stop]
        values = weighted_attention(lambda query, key: (query - key == 3) | (key == query + 1), part, query)
        for row, j in enumerate(range(start, stop)):
            assert torch.equal(values[0, :, row].isnan(), torch.tensor([j < 3] * 2))
            assert j < 3 or torch.allclose(values[0, :, row], pattern[0, :, j, j - 3])
