"""The formulas of prefix matching."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from reference import prefix as reference

from headcount.induction.formulas.prefix_matching import has_bos, pattern_entries, prefix_matching_score
from headcount.results import InputError

periods = st.integers(2, 7)
definitions = st.sampled_from(reference.DEFINITIONS)


def perfect(period: int, bos: bool) -> torch.Tensor:
    """Pattern of a head that attends to what followed the latest earlier occurrence; to the start where none is."""
    length = 4 * period + bos
    pattern = torch.zeros(length, length)
    for query in range(length):
        key = query - period + 1
        pattern[query, max(key, 0) if query >= period + bos else 0] = 1
    return pattern


@pytest.mark.parametrize("bos", [True, False])
@pytest.mark.parametrize("definition", ["successor", "offset"])
def test_a_perfect_induction_pattern_scores_exactly_one(definition, bos):
    assert prefix_matching_score(perfect(5, bos), 5, definition).item() == 1.0


def test_attention_spread_over_all_successors_still_scores_one():
    pattern = torch.zeros(17, 17)
    for query in range(5, 17):
        successors = [query - back + 1 for back in (4, 8, 12) if query - back >= 1]
        pattern[query, successors] = 1 / len(successors)
    assert prefix_matching_score(pattern, 4).item() == pytest.approx(1.0)
    assert prefix_matching_score(pattern, 4, "entry-mean").item() < 1


@given(periods, st.booleans(), definitions, st.integers(0, 100))
def test_every_definition_equals_the_plain_loop(period, bos, definition, seed):
    length = 4 * period + bos
    pattern = torch.rand(2, length, length, generator=torch.Generator().manual_seed(seed)).tril()
    expected = [reference.prefix_score(matrix, period, definition, bos) for matrix in pattern]
    assert torch.allclose(prefix_matching_score(pattern, period, definition), torch.tensor(expected), atol=1e-6)


@given(periods, st.booleans(), definitions)
def test_entries_lie_inside_the_causal_triangle(period, bos, definition):
    entries = pattern_entries(period, bos, definition)
    assert (entries.query < 4 * period + bos).all()
    assert (entries.key >= int(bos)).all()
    assert (entries.key <= entries.query).all()


def test_published_adds_three_stray_entries():
    plain, published = (zip(*pattern_entries(6, True, name)[:2], strict=True) for name in ("successor", "published"))
    plain, published = ({(int(q), int(k)) for q, k in pairs} for pairs in (plain, published))
    assert published - plain == {(12, 1), (18, 1), (24, 1)}


def test_permuting_heads_permutes_scores():
    patterns = torch.rand(4, 21, 21).tril()
    order = torch.tensor([2, 0, 3, 1])
    assert torch.equal(prefix_matching_score(patterns, 5)[order], prefix_matching_score(patterns[order], 5))


@pytest.mark.parametrize(("length", "period"), [(15, 4), (18, 4), (21, 4), (4, 4), (8, 0), (8, -4), (0, 0)])
def test_a_length_that_is_not_of_four_repeats_is_refused(length, period):
    with pytest.raises(InputError, match=f"{length} tokens do not fit period {period}"):
        has_bos(length, period)


def test_an_unknown_definition_is_refused_with_the_known_ones():
    with pytest.raises(InputError, match="successor, published, entry-mean, offset, not 'mean'"):
        pattern_entries(5, True, "mean")
