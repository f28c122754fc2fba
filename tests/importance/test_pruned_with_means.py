"""A pruned model in which means stay has the logits of mean ablation."""

import pytest
import torch
from reference.models import BUILDERS, bpe_tokenizer, opt

import headcount as hc
from headcount.importance import Example, ablated, pruned
from headcount.importance.ablation.ablated import replacement_from
from headcount.results import InputError
from headcount.tracing import load_model, masked, provenance, removed_parameters, save_pruned

TOKENIZER = bpe_tokenizer()
REFERENCE = [Example("the cat sat on the", " mat and"), Example("one two three four five", " six")]
TOKENS = torch.randint(3, 160, (2, 9), generator=torch.Generator().manual_seed(4))
MEAN = {"kind": "mean", "reference": REFERENCE}
HEADS, FFNS = [(0, 1), (1, 0), (1, 1), (1, 2), (1, 3), (2, 2), (2, 3)], [1]  # layer 1 loses all its heads


@pytest.mark.parametrize("build", BUILDERS.values(), ids=BUILDERS.keys())
def test_its_logits_are_those_of_mean_ablation(build):
    model = load_model(build(), tokenizer=TOKENIZER)
    model.hf.requires_grad_(False)
    before = model(TOKENS)
    with ablated(model, HEADS, FFNS, **MEAN):
        expected = model(TOKENS)
    small = pruned(model, HEADS, FFNS, **MEAN)
    assert (small(TOKENS) - expected).abs().max() <= 1e-5 * max(1.0, float(expected.abs().max()))
    assert torch.equal(model(TOKENS), before)
    count = sum(parameter.numel() for parameter in small.hf.parameters())
    counts = removed_parameters(model, HEADS, FFNS, means=True)
    assert counts.total - counts.removed == count


@pytest.mark.parametrize("build", [BUILDERS["opt"], BUILDERS["llama"]])
def test_saved_and_opened_again_it_is_the_same(build, tmp_path):
    model = load_model(build(), tokenizer=TOKENIZER)
    small = pruned(model, HEADS, FFNS, **MEAN)
    save_pruned(small, tmp_path / "small")
    again = load_model(tmp_path / "small")
    assert torch.equal(again(TOKENS), small(TOKENS))
    for each in (small, again):
        record = provenance(each)
        assert record["ablated"][0]["kind"] == "mean"
        assert len(record["removed_heads"]) == len(HEADS)
    assert "ablated" not in provenance(pruned(model, HEADS))


def test_parts_that_are_masked_at_present_go_by_zeros():
    model = load_model(opt(), tokenizer=TOKENIZER)
    with masked(model, [(0, 3)], [2]):
        with ablated(model, [(2, 0)], [1], **MEAN):
            expected = model(TOKENS)
        small = pruned(model, [(2, 0)], [1], **MEAN)
    assert torch.allclose(small(TOKENS), expected, atol=1e-5)


def test_half_precision_weights_keep_their_format():
    model = load_model(opt().to(torch.bfloat16), tokenizer=TOKENIZER)
    small = pruned(model, HEADS, FFNS, **MEAN)
    assert {parameter.dtype for parameter in small.hf.parameters()} == {torch.bfloat16}
    with ablated(model, HEADS, FFNS, **MEAN):
        expected = model(TOKENS).float()
    assert (small(TOKENS).float() - expected).abs().max() < 0.05 * expected.abs().max()


def test_what_weights_cannot_hold_is_refused():
    model = load_model(opt(), tokenizer=TOKENIZER)
    with pytest.raises(InputError, match="has other values for every prompt"):
        pruned(model, HEADS, kind="resample", reference=REFERENCE)
    with ablated(model, [(0, 0)], **MEAN), pytest.raises(InputError, match="prune it outside of the block"):
        pruned(model, HEADS)
    by_rows = replacement_from(model, "resample", REFERENCE)
    with pytest.raises(InputError, match="weights hold one"):
        hc.tracing.pruned(model, HEADS, replacement=by_rows)
    assert hc.pruned is pruned
