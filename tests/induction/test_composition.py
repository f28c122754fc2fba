"""Composition: equal to circuits that are formed, to TransformerLens, and refused where no product of weights is."""

import math

import pytest
import torch
from reference import composition as reference
from reference import zoo
from reference.bridges import bridge
from reference.hand_built import ANSWER, D_MODEL, QUESTION, WORD, empty_llama, set_head
from reference.models import BUILDERS

from headcount.induction import composition
from headcount.induction.formulas.composition import composition_scores
from headcount.results import InputError, PairScores
from headcount.tracing import load_model, masked

KINDS = ("K", "Q", "V")
COMPARED = ("opt", "gpt2", "gpt_neox", "llama", "llama_wide_heads", "gemma3")


@pytest.fixture(scope="module")
def tiny_opt():
    return load_model("tiny-opt")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", COMPARED)
def test_it_equals_circuits_that_are_formed(name, kind):
    hf = BUILDERS[name]()
    expected = reference.composition(hf, kind).float()
    scores = composition(load_model(hf), kind)
    assert torch.allclose(scores.values, expected, atol=1e-5, rtol=0, equal_nan=True)
    assert scores.values[0, :, 1].std() > 1e-3
    assert scores.values[1, :, :2].isnan().all()


@pytest.mark.parametrize("kind", KINDS)
def test_it_equals_transformer_lens_where_gains_are_one(kind):
    """TransformerLens' bridge takes the matrices as they are: without the norms, which fold nothing at a gain of 1."""
    hf = BUILDERS["llama"]()
    for name, parameter in hf.named_parameters():
        if "norm" in name:
            parameter.data.fill_(1.0)
    theirs = bridge(hf).all_composition_scores(kind).scores
    ours = composition(load_model(hf), kind).values
    assert torch.allclose(ours.nan_to_num(0.0), theirs, atol=1e-5, rtol=0)


def test_random_circuits_have_the_baseline(tiny_opt):
    """The root mean square over random rotations between two circuits is 1 / sqrt(d_model), whatever they are."""
    generator = torch.Generator().manual_seed(0)
    w_v, w_o, reads, other = (torch.randn(1, 48, 6, generator=generator) for _ in range(4))
    squares = []
    for _ in range(400):
        rotation, _ = torch.linalg.qr(torch.randn(48, 48, generator=generator))
        squares.append(composition_scores(w_v, w_o.mT, rotation @ reads, other).pow(2).item())
    mean, error = torch.tensor(squares).mean(), torch.tensor(squares).std() / 20
    assert abs(mean - 1 / 48) < 4 * error < 0.003
    assert composition(tiny_opt).baseline == pytest.approx(127**-0.5)  # layer norms: one dimension less
    assert composition(load_model(BUILDERS["llama"]())).baseline == pytest.approx(32**-0.5)


def test_a_head_that_reads_all_that_another_writes():
    """Hand-set: L0H1 copies words into one space, L1H2 copies from there, L1H3 from elsewhere; scores by hand."""
    hf = empty_llama()
    set_head(hf, 0, 1, None, WORD, list(QUESTION), 1.0)
    set_head(hf, 1, 2, None, QUESTION, list(ANSWER), 1.0)
    set_head(hf, 1, 3, None, [D_MODEL - 1], [ANSWER[1]], 3.0)
    scores = composition(load_model(hf), "V")
    # twelve directions pass unchanged: sqrt(12) / (sqrt(12) sqrt(12))
    assert scores.values[0, 1, 1, 2] == pytest.approx(1 / math.sqrt(12))
    assert scores.values[0, 1, 1, 3] == 0
    assert scores.values[0, 0].isnan().all()  # it has no weights
    assert scores.top(1)[0][:4] == (0, 1, 1, 2)
    assert scores.earlier_heads(1, 2) == [(0, 1, pytest.approx(1 / math.sqrt(12)))]
    assert scores.later_heads(0, 1, k=1) == [(1, 2, pytest.approx(1 / math.sqrt(12)))]
    assert scores.label(0, 1, 1, 2) == "L0H1 → L1H2"


def test_the_previous_token_head_feeds_the_keys_of_the_induction_heads(tiny_opt):
    """By weights as by paths: tests/induction/test_paths.py has the fall of the score."""
    scores = composition(tiny_opt, "K")
    for head in (2, 3):
        first, second, *_ = scores.earlier_heads(1, head)
        assert first[:2] == (0, 0)
        assert first[2] > 0.24 > 0.1 > second[2]
    with masked(tiny_opt, heads=[(0, 0)]):
        assert torch.equal(composition(tiny_opt, "K").values.nan_to_num(), scores.values.nan_to_num())


def test_it_is_saved_and_says_how_it_was_made(tiny_opt, tmp_path):
    scores = composition(tiny_opt, "Q")
    scores.save(tmp_path / "Q.safetensors")
    read = PairScores.load(tmp_path / "Q.safetensors")
    assert torch.equal(read.values.nan_to_num(), scores.values.nan_to_num())
    assert read.baseline == scores.baseline
    assert read.provenance["rotary"] is False
    assert composition(load_model(BUILDERS["llama"]()), "K").provenance["rotary"] is True
    assert composition(load_model(BUILDERS["llama"]()), "V").provenance["rotary"] is False
    assert len(read.to_frame()) == 64
    with pytest.raises(InputError, match="later_layer"):
        PairScores(torch.zeros(2, 3, 2, 4))


def test_layers_without_heads_have_nan():
    model = load_model(zoo.tiny("jamba"))
    scores = composition(model, "V")
    absent = sorted({*range(model.sizes.n_layers)} - {*model.layers_with_heads})
    assert absent
    assert scores.values[absent].isnan().all()
    assert scores.values[:, :, absent].isnan().all()


@pytest.mark.parametrize("name", ["persimmon", "olmo2", "qwen3", "cohere"])
def test_norms_of_queries_and_keys_do_not_stop_it(name):
    scores = composition(load_model(zoo.tiny(name)), "K")
    assert scores.values[0, :, 1].isfinite().all()


def refusal(name):
    with pytest.raises(InputError) as refused:
        composition(load_model(zoo.tiny(name)), "K")
    return str(refused.value)


def test_what_has_no_meaning_is_refused_by_name():
    assert "latent attention" in refusal("deepseek_v3")
    assert "a gate that depends on the text" in refusal("qwen3_next")
    assert "in the residual stream itself" in refusal("minimax")
    with pytest.raises(InputError, match="in the residual stream itself"):
        composition(load_model(BUILDERS["opt_350m_style"]()))
    with pytest.raises(InputError, match="kind: expected one of K, Q, V"):
        composition(load_model("tiny-opt"), "O")
