"""The pure mathematics of prefix matching."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from reference import prefix as reference

from headcount.induction.prefix_score import entries, has_bos, prefix_score
from headcount.results import InputError

periods = st.integers(2, 7)
definitions = st.sampled_from(reference.DEFINITIONS)


def perfect(period: int, bos: bool) -> torch.Tensor:
    """A head that attends to what followed the latest earlier occurrence; to the start where there is none."""
    length = 4 * period + bos
    pattern = torch.zeros(length, length)
    for query in range(length):
        key = query - period + 1
        pattern[query, max(key, 0) if query >= period + bos else 0] = 1
    return pattern


@pytest.mark.parametrize("bos", [True, False])
@pytest.mark.parametrize("definition", ["successor", "offset"])
def test_a_perfect_induction_pattern_scores_exactly_one(definition, bos):
    assert prefix_score(perfect(5, bos), 5, definition).item() == 1.0


def test_attention_spread_over_all_successors_still_scores_one():
    pattern = torch.zeros(17, 17)
    for query in range(5, 17):
        successors = [query - back + 1 for back in (4, 8, 12) if query - back >= 1]
        pattern[query, successors] = 1 / len(successors)
    assert prefix_score(pattern, 4).item() == pytest.approx(1.0)
    assert prefix_score(pattern, 4, "entry-mean").item() < 1


@given(periods, st.booleans(), definitions, st.integers(0, 100))
def test_every_definition_equals_the_plain_loop(period, bos, definition, seed):
    length = 4 * period + bos
    pattern = torch.rand(2, length, length, generator=torch.Generator().manual_seed(seed)).tril()
    expected = [reference.prefix_score(one, period, definition, bos) for one in pattern]
    assert torch.allclose(prefix_score(pattern, period, definition), torch.tensor(expected), atol=1e-6)


@given(periods, st.booleans(), definitions)
def test_entries_lie_inside_the_causal_triangle(period, bos, definition):
    at = entries(period, bos, definition)
    assert (at.query < 4 * period + bos).all()
    assert (at.key >= int(bos)).all()
    assert (at.key <= at.query).all()


def test_published_adds_three_stray_entries():
    plain, published = (set(zip(*entries(6, True, name)[:2], strict=True)) for name in ("successor", "published"))
    plain, published = ({(int(q), int(k)) for q, k in found} for found in (plain, published))
    assert published - plain == {(12, 1), (18, 1), (24, 1)}


def test_permuting_heads_permutes_scores():
    patterns = torch.rand(4, 21, 21).tril()
    order = torch.tensor([2, 0, 3, 1])
    assert torch.equal(prefix_score(patterns, 5)[order], prefix_score(patterns[order], 5))


@pytest.mark.parametrize(("length", "period"), [(15, 4), (18, 4), (21, 4), (4, 4), (8, 0), (8, -4), (0, 0)])
def test_a_length_that_is_not_of_four_repeats_is_refused(length, period):
    with pytest.raises(InputError, match=f"{length} tokens do not fit period {period}"):
        has_bos(length, period)


def test_an_unknown_definition_is_refused_with_the_known_ones():
    with pytest.raises(InputError, match="successor, published, entry-mean, offset, not 'mean'"):
        entries(5, True, "mean")
