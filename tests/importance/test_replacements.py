"""Means over reference examples, resampled rows and counterfactual prompts."""

import pytest
import torch
from reference import ablation
from reference.models import BUILDERS, bpe_tokenizer, opt

from headcount.importance import Example, load_task
from headcount.importance.ablation.reference import (
    counterfactual_requests,
    ffn_means,
    head_means,
    reference_means,
    resampled,
)
from headcount.importance.documents import Prompt
from headcount.importance.likelihoods.encoding import encode
from headcount.importance.prompts.shuffled_answers import shuffled_answers
from headcount.results import InputError
from headcount.tracing import load_model

TOKENIZER = bpe_tokenizer()
EXAMPLES = [
    Example("the cat sat on the", " mat and"),
    Example("a b c a b", " c"),
    Example("one two three four five six seven", " eight nine ten"),
]


def encoded():
    return [encode(TOKENIZER, example.context, example.continuation, longest=256) for example in EXAMPLES]


class TestMeans:
    @pytest.mark.parametrize("build", [BUILDERS["opt"], BUILDERS["llama_wide_heads"], BUILDERS["gpt_neox"]])
    @pytest.mark.parametrize("position", ["all", "last"])
    def test_they_equal_a_loop_over_positions(self, build, position):
        rows = [list(request.ids[:-1]) for request in encoded()]
        chosen = [list(range(len(row))) for row in rows]
        if position == "last":
            chosen = [[request.start - 1] for request in encoded()]
        heads, ffns = ablation.means(build(), rows, chosen)
        model = load_model(build(), tokenizer=TOKENIZER)
        for batch_size in (1, 3):
            assert torch.allclose(
                head_means(model, EXAMPLES, position=position, batch_size=batch_size), heads, atol=1e-5
            )
            assert torch.allclose(ffn_means(model, EXAMPLES, position=position, batch_size=batch_size), ffns, atol=1e-5)

    def test_a_layer_without_heads_has_none(self, monkeypatch):
        model = load_model(opt(), tokenizer=TOKENIZER)
        monkeypatch.setattr(type(model), "layers_with_heads", [0, 2])
        heads, ffns = reference_means(model, encoded())
        assert heads[1].isnan().all()
        assert heads[[0, 2]].isfinite().all()
        assert ffns.isfinite().all()

    def test_no_example_and_an_unknown_position_are_refused(self):
        model = load_model(opt(), tokenizer=TOKENIZER)
        with pytest.raises(InputError, match="at least one reference example"):
            head_means(model, [])
        with pytest.raises(InputError, match="all or last, not 'first'"):
            head_means(model, EXAMPLES, position="first")


class TestResampled:
    def test_rows_of_the_same_length_come_first_and_never_the_row_itself(self):
        reference = [(0, 1, 2), (0, 3, 4), (0, 5, 6), (0, 1, 2, 3, 4)]
        for seed in range(20):
            (drawn,) = resampled([(0, 1, 2)], reference, seed)
            assert drawn in [(0, 3, 4), (0, 5, 6)]
        assert len({resampled([(0, 1, 2)], reference, seed)[0] for seed in range(20)}) == 2

    def test_where_none_has_the_length_they_are_joined_and_cut_from_the_left(self):
        assert resampled([(0, 9)], [(0, 1, 2, 3)]) == [(0, 3)]
        assert resampled([(8, 9)], [(0, 1, 2, 3)]) == [(2, 3)]
        assert resampled([(0, 9, 9, 9, 9, 9)], [(0, 1, 2)]) == [(0, 2, 1, 2, 1, 2)]
        assert resampled([(8, 9, 9, 9, 9, 9)], [(0, 1)]) == [(0, 1, 0, 1, 0, 1)]

    def test_neither_the_other_rows_nor_the_order_of_the_reference_matter(self):
        reference = [(0, n, n + 1, n + 2) for n in range(30)]
        rows = [(0, 5, 5, 5), (0, 7, 7), (0, 3, 4, 5)]
        together = resampled(rows, reference, 3)
        assert [resampled([row], reference[::-1], 3)[0] for row in rows] == together
        assert resampled(rows, reference, 4) != together

    def test_without_another_reference_row_they_are_refused(self):
        with pytest.raises(InputError, match="another reference example than the prompt itself"):
            resampled([(0, 1, 2)], [(0, 1, 2)])


class TestCounterfactuals:
    def test_the_shots_answers_are_shuffled_and_nothing_else(self):
        for example in load_task("country_capital").examples(shots=5, limit=20):
            *shots, query = example.context.split("\n")
            *shuffled, same_query = example.counterfactual.split("\n")
            lefts, rights = zip(*(shot.split(" ->") for shot in shots), strict=True)
            same_lefts, others = zip(*(shot.split(" ->") for shot in shuffled), strict=True)
            assert (query, lefts, sorted(rights)) == (same_query, same_lefts, sorted(others))
            assert all(right != other for right, other in zip(rights, others, strict=True))

    def test_they_depend_on_the_seed_and_the_shots_alone(self):
        task = load_task("antonym")
        few, many = (task.examples(shots=4, limit=limit, seed=1) for limit in (3, 9))
        assert [example.counterfactual for example in few] == [example.counterfactual for example in many[:3]]

    @pytest.mark.parametrize("shots", [0, 1])
    def test_too_few_shots_have_none(self, shots):
        assert {example.counterfactual for example in load_task("plural").examples(shots=shots, limit=3)} == {None}

    def test_equal_answers_and_answers_in_the_context_have_none(self):
        yes = Prompt(("is it",) * 2, (" no", " yes"), (1,), "is it yes\n")
        gap = Prompt(("he ran", "she ran"), (" off",) * 2, (0,), "he ran off\n")
        no = Prompt(("was it",) * 2, (" no", " yes"), (0,), "was it no\n")
        assert shuffled_answers([yes, yes], 0) is None
        assert shuffled_answers([gap, no], 0) is None
        assert shuffled_answers([yes, no], 0) == "is it no\nwas it yes\n"

    def test_as_tokens_they_are_as_long_as_the_prompt(self):
        model = load_model(opt(), tokenizer=TOKENIZER)
        example = Example("a b c d", " e f", "a d c b")
        (request,) = counterfactual_requests(model, [example])
        assert (len(request.ids), request.start) == (len(encode(TOKENIZER, "a b c d", " e f", longest=256).ids), 5)
        with pytest.raises(InputError, match="1 of 2 examples have no counterfactual, first 'a b'"):
            counterfactual_requests(model, [example, Example("a b", " c")])
        with pytest.raises(InputError, match="has 4 tokens and its prompt 7"):
            counterfactual_requests(model, [Example("a b c d", " e f", "a")])
