"""Paths: equal to the plain loops; a circuit that is known; what has no meaning is refused."""

import pytest
import torch
from reference import paths as reference
from reference import zoo
from reference.models import BUILDERS, bpe_tokenizer

from headcount.induction import feeding_heads, prefix_matching, repeated_tokens
from headcount.induction.passes.paths import stream_is_a_sum
from headcount.results import HeadScores, InputError
from headcount.tracing import load_model, masked

PERIOD, TARGET, COMPARED = 6, (2, 3), [0, 3]
OPTIONS = {"period": PERIOD, "n_sequences": 2}
CASES = [
    (name, on, path) for name in ("opt", "llama") for on in ("key", "query", "value") for path in ("direct", "total")
]
CASES += [("gemma3", "key", "direct"), ("gpt_neox", "key", "direct"), ("opt_350m_style", "key", "total")]


@pytest.fixture(scope="module")
def models():
    return {name: (BUILDERS[name](), load_model(BUILDERS[name](), tokenizer=bpe_tokenizer())) for name, *_ in CASES}


@pytest.fixture(scope="module")
def tiny_opt():
    return load_model("tiny-opt")


@pytest.mark.parametrize(("name", "on", "path"), CASES)
def test_it_equals_the_plain_loop(models, name, on, path):
    hf, model = models[name]
    rows = repeated_tokens(model, PERIOD, 2)
    expected = reference.feeding_heads(hf, rows, TARGET, on, path, PERIOD, COMPARED).float()
    scores = feeding_heads(model, TARGET, on, path, **OPTIONS)
    assert torch.allclose(scores.values[:2, COMPARED], expected.mean(0), atol=1e-5, rtol=1e-4)
    assert torch.allclose(scores.variance[:2, COMPARED], expected.var(0), atol=1e-5, rtol=1e-3)
    assert torch.allclose(scores.folds[:, :2, COMPARED], expected, atol=1e-5, rtol=1e-4)
    assert expected.abs().max() > 1e-3
    assert scores.values[2].isnan().all()
    assert scores.n == 2


def test_the_score_of_the_whole_model_is_prefix_matching(models):
    _, model = models["llama"]
    expected = prefix_matching(model, repeated_tokens(model, PERIOD, 2), PERIOD, "offset")
    scores = feeding_heads(model, TARGET, definition="offset", **OPTIONS)
    assert scores.provenance["score"] == pytest.approx(float(expected.values[TARGET]), abs=1e-6)


def test_batches_do_not_change_the_scores(models):
    _, model = models["llama"]
    together, apart = (feeding_heads(model, TARGET, **OPTIONS, batch_size=size) for size in (2, 1))
    assert torch.allclose(together.values[:2], apart.values[:2], atol=1e-6)


def test_direct_and_total_agree_where_no_layer_is_between(models):
    _, model = models["gpt_neox"]  # a block with attention and network in parallel: none reads what the other adds
    direct, total = (feeding_heads(model, (1, 0), path=path, **OPTIONS).values[0] for path in ("direct", "total"))
    assert torch.allclose(direct, total, atol=1e-6)


@pytest.mark.parametrize("head", [(1, 2), (1, 3)])
def test_the_previous_token_head_feeds_the_keys_of_the_induction_heads(tiny_opt, head):
    for path in ("direct", "total"):
        scores = feeding_heads(tiny_opt, head, "key", path, n_sequences=2)
        assert scores.provenance["score"] > 0.9
        assert scores.top(1)[0][:2] == (0, 0)
        assert scores.values[0, 0] > 0.85
        assert scores.values[0, 1:].abs().max() < 0.01


@pytest.mark.parametrize("on", ["query", "value"])
def test_its_queries_and_values_do_not_need_the_previous_token(tiny_opt, on):
    scores = feeding_heads(tiny_opt, (1, 2), on, n_sequences=2)
    assert scores.provenance["score"] > 0.9
    assert scores.values[0].max() < 0.05


def test_a_head_that_is_removed_feeds_nothing(tiny_opt):
    with masked(tiny_opt, heads=[(0, 0)]):
        scores = feeding_heads(tiny_opt, (1, 2), n_sequences=1)
    assert scores.provenance["score"] < 0.3
    assert scores.values[0, 0] == pytest.approx(0, abs=1e-6)
    assert scores.variance is None


def test_the_provenance_says_whom_a_key_reaches(models, tmp_path):
    _, model = models["llama"]  # two heads a group
    scores = feeding_heads(model, (2, 1), **OPTIONS)
    assert scores.provenance["head"] == [2, 1]
    assert scores.provenance["heads_of_group"] == [0, 1]
    assert feeding_heads(model, (2, 1), "query", **OPTIONS).provenance["heads_of_group"] == [1]
    assert scores.definition == "key, direct"
    scores.save(tmp_path / "paths.safetensors")
    assert HeadScores.load(tmp_path / "paths.safetensors").provenance == scores.provenance


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("llama", ((0, 1),), "first layer with heads: no head is before it"),
        ("llama", ((3, 1),), "expected a whole number from 0 to 2"),
        ("llama", (7,), r"expected \(layer, head\)"),
        ("llama", ((1, 1), "output"), "on: expected one of key, query, value"),
        ("llama", ((1, 1), "key", "indirect"), "path: expected one of direct, total"),
        ("opt_350m_style", ((1, 1),), "norms after its sums"),
    ],
)
def test_what_has_no_meaning_is_refused(models, name, arguments, message):
    with pytest.raises(InputError, match=message):
        feeding_heads(models[name][1], *arguments, **OPTIONS)


def test_a_stream_with_factors_of_its_own_has_no_direct_path():
    model = load_model(zoo.tiny("doge"), tokenizer=bpe_tokenizer())
    with pytest.raises(InputError, match="change the residual stream other than by adding to it"):
        feeding_heads(model, (2, 0), **OPTIONS)
    assert feeding_heads(model, (2, 0), path="total", **OPTIONS).values[:2].any()
    assert stream_is_a_sum(load_model(zoo.tiny("granite"), tokenizer=bpe_tokenizer()), torch.arange(3, 9)[None], 2)
