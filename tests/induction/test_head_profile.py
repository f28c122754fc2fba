"""One head at a glance: equal to plain loops on every architecture, and bad input is refused in words."""

import re
from math import isnan, log, nan

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from reference import profile as reference
from reference.models import BUILDERS, bpe_tokenizer, llama, opt
from transformers import PreTrainedModel

from headcount.induction import head_profile
from headcount.induction.formulas.attention_statistics import mean_by_lag, relative_entropy, row_entropy, sink_share
from headcount.results import HeadProfile, HeadScores, InductionScores, InputError
from headcount.tracing import Model, load_model, masked, pruned

TEXT = "ba ba bo ce du ba bo ce fa zi ba bo"
LAYER, HEAD = 2, 3


def loaded(hf: PreTrainedModel) -> Model:
    return load_model(hf, tokenizer=bpe_tokenizer())


def ids(model: Model) -> torch.Tensor:
    return model.to_tokens(TEXT)[0]


def close(values: torch.Tensor, expected: list) -> None:
    torch.testing.assert_close(values, torch.tensor(expected), rtol=0, atol=1e-5, equal_nan=True)


@pytest.fixture(scope="module")
def model() -> Model:
    return loaded(llama())


@pytest.mark.parametrize("build", BUILDERS.values(), ids=BUILDERS.keys())
@pytest.mark.parametrize(("layer", "head"), [(0, 1), (LAYER, HEAD)])
def test_attention_equals_the_plain_loops(build, layer, head):
    model = loaded(build())
    expected = reference.head_pattern(model.hf, ids(model), layer, head)
    profile = head_profile(model, layer, head, TEXT)
    close(profile.pattern, expected)
    close(profile.by_lag, reference.mean_by_lag(expected))
    close(profile.entropy, reference.entropies(expected))
    close(profile.relative_entropy, reference.relative_entropies(expected))
    assert profile.sink == pytest.approx(reference.sink_share(expected), abs=1e-5)
    assert profile.tokens == tuple(model.to_str_tokens(TEXT))


@pytest.mark.parametrize("build", BUILDERS.values(), ids=BUILDERS.keys())
@pytest.mark.parametrize(("layer", "head"), [(0, 1), (LAYER, HEAD)])
def test_written_logits_equal_the_plain_loops(build, layer, head):
    model = loaded(build())
    expected = reference.written_logits(model.hf, ids(model), layer, head)
    profile = head_profile(model, layer, head, TEXT, top=4)
    assert len(profile.sources) == len(expected) < len(profile.tokens)
    assert profile.vocab == model.sizes.vocab
    for row, source in enumerate(expected):
        assert profile.sources[row] == model.to_str_tokens([source.token])[0]
        rank = source.order.index(source.token)
        close(profile.raised_logits[row], source.logits[:4])
        close(profile.lowered_logits[row], source.logits[:-5:-1])
        close(profile.own_logit[row], source.logits[rank])
        assert profile.own_rank[row] == rank + 1
        assert profile.raised[row] == names(model, source.order[:4])
        assert profile.lowered[row] == names(model, source.order[:-5:-1])


def names(model: Model, tokens: list[int]) -> tuple[str, ...]:
    """Rows of the embedding that the tokenizer does not know have a number in place of a text."""
    return tuple(model.tokenizer.decode([token]) or f"[{token}]" for token in tokens)


def test_a_group_of_tokens_at_a_time_gives_the_same(model, monkeypatch):
    whole = head_profile(model, LAYER, HEAD, TEXT)
    monkeypatch.setattr("headcount.induction.passes.one_head._ROWS_AT_ONCE", 50)
    monkeypatch.setattr("headcount.induction.passes.one_head._LOGITS_AT_ONCE", 2 * model.sizes.vocab)
    grouped = head_profile(model, LAYER, HEAD, TEXT)
    assert (grouped.raised, grouped.lowered) == (whole.raised, whole.lowered)
    close(grouped.raised_logits, whole.raised_logits.tolist())
    close(grouped.own_rank, whole.own_rank.tolist())


def test_half_precision_changes_little_and_rows_still_sum_to_one():
    exact, rounded = head_profile(loaded(llama()), 1, 2, TEXT), head_profile(loaded(llama().bfloat16()), 1, 2, TEXT)
    torch.testing.assert_close(rounded.pattern.sum(-1), torch.ones(len(rounded.tokens)))
    torch.testing.assert_close(rounded.pattern, exact.pattern, rtol=0, atol=0.05)
    torch.testing.assert_close(rounded.own_logit, exact.own_logit, rtol=0.05, atol=0.05)


@given(length=st.integers(1, 12), sharpness=st.floats(0, 60), seed=st.integers(0, 99))
def test_properties_of_any_causal_attention(length, sharpness, seed):
    draw = torch.Generator().manual_seed(seed)
    scores = sharpness * torch.randn(length, length, generator=draw)
    pattern = scores.masked_fill(~torch.ones(length, length, dtype=torch.bool).tril(), -torch.inf).softmax(-1)
    torch.testing.assert_close(pattern.sum(-1), torch.ones(length))
    by_lag, entropy = mean_by_lag(pattern), row_entropy(pattern)
    assert isnan(by_lag[-1])
    assert ((by_lag[:-1] >= 0) & (by_lag[:-1] <= 1)).all()
    assert all(0 <= value <= log(keys) + 1e-5 for keys, value in enumerate(entropy.tolist(), 1))
    assert isnan(relative_entropy(entropy)[0])
    assert ((relative_entropy(entropy)[1:] >= 0) & (relative_entropy(entropy)[1:] <= 1 + 1e-5)).all()
    assert isnan(sink_share(pattern)) if length == 1 else 0 <= sink_share(pattern) <= 1
    # Every row's attention is the first position's and that of the lags.
    lags = sum(by_lag[lag].item() * (length - 1 - lag) for lag in range(length - 1))
    assert lags + pattern[1:, 0].sum().item() == pytest.approx(length - 1, abs=1e-4)


def test_a_previous_token_head_and_an_even_one():
    previous = torch.zeros(5, 5)
    previous[0, 0] = 1
    previous[torch.arange(1, 5), torch.arange(4)] = 1
    close(mean_by_lag(previous), [0.0, 1.0, 0.0, 0.0, nan])
    assert sink_share(previous).item() == 0.25
    assert row_entropy(previous).tolist() == [0.0] * 5
    even = torch.ones(4, 4).tril()
    even = even / even.sum(-1, keepdim=True)
    close(relative_entropy(row_entropy(even)), [nan, 1.0, 1.0, 1.0])


def test_one_token_is_enough():
    model = load_model(llama(), tokenizer=bpe_tokenizer(bos=False))
    profile = head_profile(model, 0, 0, "a")
    assert profile.pattern.tolist() == [[1.0]]
    assert isnan(profile.sink)
    assert isnan(profile.by_lag[0])
    assert profile.sources == ("a",)


def test_scores_are_ranked_among_all_heads(model):
    values = torch.arange(12.0).view(3, 4) / 12
    values[0, 0] = nan
    scores = HeadScores(values, variance=torch.full((3, 4), 0.04), n=4, definition="successor")
    standing = head_profile(model, 2, 2, TEXT, {"by_hand": scores}).standings["by_hand"]
    assert (standing.rank, standing.among, standing.n, standing.definition) == (2, 11, 4, "successor")
    assert (standing.value, standing.stderr) == pytest.approx((10 / 12, 0.1))
    missing = head_profile(model, 0, 0, TEXT, {"by_hand": scores}).standings["by_hand"]
    assert (missing.rank, isnan(missing.value)) == (None, True)
    three = InductionScores(scores, scores, scores)
    assert list(head_profile(model, 2, 2, TEXT, three).standings) == list(vars(three))


def test_parts_removed_before_it_change_its_attention_and_not_its_logits(model):
    whole = head_profile(model, LAYER, HEAD, TEXT)
    with masked(model, heads=[(0, 0)], ffns=[1]):
        without = head_profile(model, LAYER, HEAD, TEXT)
    assert not torch.allclose(without.pattern, whole.pattern, atol=1e-4)
    assert torch.equal(without.raised_logits, whole.raised_logits)
    assert without.provenance["removed_heads"] == [[0, 0]]


def test_a_profile_survives_a_file(model, tmp_path):
    profile = head_profile(model, LAYER, HEAD, TEXT, {"by_hand": HeadScores(torch.rand(3, 4))})
    profile.save(tmp_path / "profile.safetensors")
    back = HeadProfile.load(tmp_path / "profile.safetensors")
    assert str(back) == str(profile)
    assert back.tokens == profile.tokens
    assert torch.equal(back.pattern, profile.pattern)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"layer": 3}, "layer: expected a whole number from 0 to 2 .* got 3"),
        ({"layer": -1}, "layer: expected a whole number from 0 to 2 .* got -1"),
        ({"head": 4}, "head: expected a whole number from 0 to 3 .* got 4"),
        ({"head": True}, "head: expected a whole number .* got True"),
        ({"text": ""}, "text: expected a text of one token or more, got ''"),
        ({"text": 3}, "text: expected a text .* got 3"),
        ({"text": "ba " * 200}, "text: expected at most 256 tokens, .* got 40[01]: pass a shorter one"),
        ({"scores": {"by_hand": HeadScores(torch.ones(2, 4))}}, r"by_hand of shape \[3, 4\], .* got \[2, 4\]"),
        ({"scores": HeadScores(torch.ones(3, 4))}, "scores: expected the result of score_heads, or HeadScores by name"),
        ({"scores": {"by_hand": 3}}, "scores: expected the result of score_heads, or HeadScores by name"),
        ({"top": 0}, "top: expected a whole number of at least 1, got 0"),
    ],
)
def test_bad_input_is_refused_in_words(model, arguments, message):
    with pytest.raises(InputError, match=message):
        head_profile(model, **({"layer": 0, "head": 0, "text": TEXT} | arguments))


def test_a_model_without_a_tokenizer_reads_no_text():
    with pytest.raises(InputError, match=re.escape("load_model(..., tokenizer=)")):
        head_profile(load_model(llama()), 0, 0, TEXT)


def test_a_removed_head_has_no_profile(model):
    with masked(model, heads=[(1, 2)]), pytest.raises(InputError, match="L1H2 is removed at present"):
        head_profile(model, 1, 2, TEXT)
    smaller = pruned(loaded(opt()), heads=[(1, 2)])
    with pytest.raises(InputError, match="heads of layer 1 were taken out"):
        head_profile(smaller, 1, 0, TEXT)


def test_other_layers_of_a_pruned_model_have_profiles():
    model = loaded(opt())
    with masked(model, heads=[(1, 2)]):
        expected = head_profile(model, 2, 1, TEXT)
    profile = head_profile(pruned(model, heads=[(1, 2)]), 2, 1, TEXT)
    close(profile.pattern, expected.pattern.tolist())
    assert profile.raised == expected.raised
