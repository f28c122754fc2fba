"""Recorded attention is the model's own; and the prompts that it is recorded on."""

import pytest
import torch
from reference import patterns as reference
from reference.models import BUILDERS, opt

from headcount import induction
from headcount.induction.tokens import prompts
from headcount.results import InputError
from headcount.tracing import load_model


@pytest.mark.parametrize("build", BUILDERS.values(), ids=BUILDERS.keys())
def test_recorded_patterns_are_those_of_the_model(build):
    hf = build()
    tokens = torch.randint(5, 100, (1, 12), generator=torch.Generator().manual_seed(0))
    expected, model = reference.attention_patterns(hf, tokens[0]), load_model(hf)
    patterns = induction.record_patterns(model, tokens, "words", seed=3)
    assert patterns.shape == (model.sizes.n_layers, model.sizes.n_heads)
    assert (patterns.weights / 255 - expected).abs().max() <= 0.5 / 255 + 1e-5
    assert patterns.tokens == tuple(str(token) for token in tokens[0].tolist())
    assert (patterns.definition, patterns.provenance["seed"]) == ("words", 3)
    assert patterns.provenance["tokens"] == tokens[0].tolist()


def test_one_sequence_at_a_time():
    with pytest.raises(InputError, match=r"one sequence of tokens \[1, pos\], got \[2, 3\]"):
        induction.record_patterns(load_model(opt()), torch.zeros(2, 3, dtype=torch.long))


def test_the_prompts_of_the_shipped_model():
    model = load_model("tiny-opt")
    random = prompts.prompt(model, "repeated", seed=1)
    assert random.shape == (1, 1 + prompts.PERIOD * prompts.REPEATS)
    assert random[0, 0] == model.bos
    assert torch.equal(random[0, 1:], random[0, 1 : 1 + prompts.PERIOD].repeat(prompts.REPEATS))
    assert torch.equal(random, prompts.prompt(model, "repeated", seed=1))
    assert not torch.equal(random, prompts.prompt(model, "repeated", seed=2))
    words = prompts.prompt(model, "text")
    assert words.shape == (1, prompts.LONGEST)
    assert "".join(model.to_str_tokens(words)[1:]) == prompts.TEXT[: len("".join(model.to_str_tokens(words)[1:]))]
    with pytest.raises(InputError, match="one of repeated, text, got 'poem'"):
        prompts.prompt(model, "poem")


def test_an_induction_head_shows_itself_on_the_repeated_prompt():
    model = load_model("tiny-opt")
    values = induction.record_patterns(model, prompts.prompt(model, "repeated")).values(1, 2)
    later = range(1 + prompts.PERIOD, len(values))
    looked_up = sum(
        values[query, key].item() for query in later for key in range(query - prompts.PERIOD + 1, 0, -prompts.PERIOD)
    )
    assert looked_up / len(later) > 0.8
