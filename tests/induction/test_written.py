"""Copy suppression, succession, retrieval: equal to plain loops, right where the answer is known, refused elsewhere."""

import pytest
import torch
from reference import written as reference
from reference import zoo
from reference.hand_built import ANSWER, WORD, WORDS, empty_llama, set_head, word_tokens
from reference.models import BOS, BUILDERS, VOCAB, bpe_tokenizer, word_tokenizer

from headcount.induction import copy_suppression, retrieval, successor
from headcount.induction.formulas.copy_suppression import copy_suppression_sums
from headcount.induction.formulas.retrieval import retrieval_score
from headcount.induction.passes.copy_suppression import query_positions
from headcount.induction.passes.retrieval import retrieval_pass
from headcount.results import InputError
from headcount.tracing import load_model

COMPARED = ("opt", "gpt2", "gpt_neox", "llama", "gemma3")
TOKENS = torch.randint(3, VOCAB, (2, 12), generator=torch.Generator().manual_seed(5))


@pytest.fixture(scope="module")
def models():
    return {name: (BUILDERS[name](), load_model(BUILDERS[name](), tokenizer=bpe_tokenizer())) for name in COMPARED}


@pytest.fixture(scope="module")
def tiny_opt():
    return load_model("tiny-opt")


@pytest.mark.parametrize("name", COMPARED)
class TestPlainLoops:
    def test_copy_suppression(self, models, name):
        hf, model = models[name]
        queries = query_positions(12, 3).tolist()
        expected = torch.stack([reference.copy_suppression(hf, tokens, 40, queries) for tokens in TOKENS]).float()
        scores = copy_suppression(model, TOKENS, k=40, n_queries=3)
        got = torch.stack([scores.values, scores.extras["unpredicted"], scores.extras["attention"]])
        assert torch.allclose(got, expected.mean(0), atol=1e-5, rtol=1e-4)
        assert torch.allclose(scores.variance, expected[:, 0].var(0), atol=1e-5, rtol=1e-3)
        assert expected[:, 0].abs().max() > 1e-2

    def test_successor(self, models, name):
        hf, model = models[name]
        words = {"syllables": [f"{letter}a" for letter in "bcdfgh"]}
        tokens = [model.to_single_token(word) for word in words["syllables"]]
        first = reference.successor_hits(hf, tokens, model.bos)
        scores = successor(model, words)
        for values, step in ((scores.values, 1), (scores.extras["predecessor"], -1), (scores.extras["itself"], 0)):
            hits = [(first[place] == place + step).float() for place in range(5)]
            assert torch.allclose(values, torch.stack(hits).mean(0))
        assert scores.n == 5
        assert scores.provenance["chance"] == pytest.approx(1 / 6)

    def test_retrieval(self, models, name):
        hf, model = models[name]
        rows = torch.cat([TOKENS, TOKENS[:, 3:6]], dim=1)
        needle = torch.tensor([[4, 5, 6]]).expand(2, -1)
        expected, anyway = reference.retrieval(hf, rows, needle)
        result = retrieval_pass(model, rows, needle, "auto")
        assert torch.allclose(result.scores, expected)
        assert torch.allclose(result.attended, anyway)


def test_formulas_on_patterns_worked_out_by_hand():
    pattern = torch.tensor([[[[0.25, 0.75, 0.0]]]])
    predicted = torch.tensor([[[False, True, False]]])
    sums = copy_suppression_sums(pattern, torch.tensor([[[2.0, -4.0, 9.0]]]), predicted)
    assert sums.flatten().tolist() == [3.0, -0.5, 0.75]
    attended, needle = torch.tensor([[[1, 2, 5], [0, 0, 0]]]), torch.tensor([[1, 2, 3]])
    assert torch.allclose(retrieval_score(attended, needle), torch.tensor([[2 / 3, 0.0]]))
    produced = torch.tensor([[True, False, True]])
    assert torch.allclose(retrieval_score(attended, needle, produced), torch.tensor([[1 / 3, 0.0]]))


def test_batches_and_lengths_change_nothing(models):
    _, model = models["llama"]
    rows = [TOKENS[0], TOKENS[1, :7], TOKENS[1, :2]]
    together, apart = (copy_suppression(model, rows, k=40, n_queries=4, batch_size=size) for size in (3, 1))
    alone = torch.stack([copy_suppression(model, row[None], k=40, n_queries=4).values for row in rows]).mean(0)
    assert torch.allclose(together.values, apart.values, atol=1e-6)
    assert torch.allclose(together.values, alone, atol=1e-6)


def test_a_head_that_is_set_to_write_the_next_word_scores_one():
    hf = empty_llama()
    set_head(hf, 1, 2, None, WORD, [ANSWER[(number + 1) % WORDS] for number in range(WORDS)], 1.0)
    set_head(hf, 1, 3, None, WORD, list(ANSWER), 1.0)
    set_head(hf, 1, 1, None, WORD, list(ANSWER), -1.0)
    model = load_model(hf, tokenizer=word_tokenizer())
    words = {"words": [f"w{number}" for number in range(WORDS)], "circle": [f"w{number % 4}" for number in range(5)]}
    scores = successor(model, words)
    assert scores.n == 11 + 4
    assert scores.values[1, 2] == pytest.approx((11 + 3) / 15)  # w3 of the circle raises w4, and its four alike
    assert scores.extras["itself"][1, 3] == 1
    assert scores.values[1, 3] == 0
    # the embedding predicts nothing; a layer below writes the word itself, and the head of layer 1 takes it away
    set_head(hf, 0, 0, None, WORD, list(ANSWER), 9.0)
    tokens = torch.tensor([[word_tokens()[number] for number in (1, 1, 1, 1, 2, 2, 2)]])
    suppression = copy_suppression(load_model(hf), tokens, k=2)
    assert suppression.values[1, 1] > 0.1
    assert suppression.values[1, 3] == pytest.approx(-float(suppression.values[1, 1]))


def test_tiny_opt_retrieves_with_its_induction_heads(tiny_opt):
    scores = retrieval(tiny_opt, 4, length=100, needle=5)
    assert scores.provenance["produced"] == 1
    assert scores.values[1, 2:].tolist() == [1, 1]
    assert scores.values[0].max() <= 0.2
    again = retrieval(tiny_opt, 4, length=100, needle=5, batch_size=1)
    assert torch.equal(again.values, scores.values)


def test_a_model_that_produces_nothing_says_so(models):
    with pytest.warns(UserWarning, match="produces no token of any needle"):
        scores = retrieval(models["opt"][1], 2, length=20, needle=3)
    assert scores.values.max() == 0


def test_what_has_no_meaning_is_refused(models, tiny_opt):
    _, model = models["opt"]
    gated, post = (
        load_model(zoo.tiny("qwen3_next"), tokenizer=bpe_tokenizer()),
        load_model(BUILDERS["opt_350m_style"]()),
    )
    for refused, match in ((gated, "a gate that depends on the text"), (post, "in the residual stream itself")):
        with pytest.raises(InputError, match=match):
            copy_suppression(refused, TOKENS)
        with pytest.raises(InputError, match=match):
            successor(refused)
    with pytest.raises(InputError, match="no sequence of 3 ordinals"):
        successor(model, {"none": ["xyzzy", "plugh", "frotz", "blorb"]})
    with pytest.raises(InputError, match="tokenizer"):
        successor(load_model(BUILDERS["llama"]()))
    with pytest.raises(InputError, match="2 tokens or more"):
        copy_suppression(model, torch.full((1, 1), BOS))
    with pytest.raises(InputError, match="choose a smaller length"):
        retrieval(tiny_opt, 2, length=5000)
    with pytest.raises(InputError, match="9 tokens or more for a needle of 8"):
        retrieval(tiny_opt, 2, length=8)
