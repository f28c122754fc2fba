"""Accuracy of a model on rows made for it: every number follows by hand from plain log-likelihoods."""

import json
import math

import pytest
import torch
from reference.importance import log_likelihood

from headcount.importance import accuracy, ffn_importance, load_task
from headcount.importance.likelihoods.encoding import encode
from headcount.results import InputError
from headcount.tracing import load_model, masked

ROWS = [
    {
        "premise": "The cat sat.",
        "choice1": "It was tired.",
        "choice2": "It flew.",
        "question": "cause",
        "idx": 0,
        "label": 0,
    },
    {
        "premise": "He ran fast.",
        "choice1": "He slept.",
        "choice2": "He won.",
        "question": "effect",
        "idx": 1,
        "label": 1,
    },
    {
        "premise": "It rained.",
        "choice1": "We got wet.",
        "choice2": "We sang.",
        "question": "effect",
        "idx": 2,
        "label": 0,
    },
]


@pytest.fixture
def task(tmp_path):
    (tmp_path / "copa.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return load_task("copa", data=tmp_path)


def test_every_number_follows_from_plain_log_likelihoods(task):
    model = load_model("tiny-opt")
    result = accuracy(model, task)
    documents = task.documents()
    for place, document in enumerate(documents):
        requests = [encode(model.tokenizer, text.context, text.continuation, longest=512) for text in document.requests]
        log_p = [log_likelihood(model.hf, list(request.ids), request.start) for request in requests]
        (gold,) = document.gold
        assert float(result.choice[place]) == log_p.index(max(log_p))
        assert float(result.gold_log_p[place]) == pytest.approx(log_p[gold], abs=1e-3)
        assert float(result.margin[place]) == pytest.approx(log_p[gold] - log_p[1 - gold], abs=2e-3)
        assert bool(result.correct[place]) == (log_p.index(max(log_p)) == gold)
    right = result.correct.tolist()
    mean = sum(right) / 3
    assert result.value == pytest.approx(mean)
    assert result.stderr == pytest.approx(math.sqrt(sum((value - mean) ** 2 for value in right) / 2 / 3), abs=1e-6)
    assert (result.n, result.chance) == (3, 0.5)


def test_greedy_are_the_documents_that_the_model_writes_right_by_itself():
    model, task = load_model("tiny-opt"), load_task("key_value")
    result = accuracy(model, task, limit=12)
    written = []
    for document in task.documents(limit=12):
        gold = document.requests[document.gold[0]]
        request = encode(model.tokenizer, gold.context, gold.continuation, longest=512)
        likeliest = model.hf(torch.tensor([request.ids])).logits[0].argmax(-1).tolist()
        written.append(float(likeliest[request.start - 1 : -1] == list(request.ids[request.start :])))
    assert 0 < sum(written) < 12
    assert result.greedy.tolist() == written
    mean = sum(written) / 12
    assert result.exact_match == pytest.approx((mean, math.sqrt(mean * (1 - mean) / 11)), abs=1e-6)


def test_nothing_is_written_where_each_choice_has_a_context_of_its_own(tmp_path):
    row = {"sentence": "The cup is in the box because the _ is small.", "option1": "cup", "option2": "box"}
    (tmp_path / "winogrande.jsonl").write_text(json.dumps(row | {"answer": "1"}) + "\n")
    result = accuracy(load_model("tiny-opt"), load_task("winogrande", data=tmp_path))
    assert result.greedy.isnan().all()
    assert math.isnan(result.exact_match[0])


def test_ffn_importance_is_the_drop_of_accuracy_and_log_probability(task):
    model = load_model("tiny-opt")
    whole, scores = accuracy(model, task), ffn_importance(model, task)
    for layer in range(2):
        with masked(model, ffns=[layer]):
            without = accuracy(model, task)
        assert float(scores.values[layer]) == pytest.approx(whole.value - without.value, abs=1e-6)
        drop = (whole.gold_log_p - without.gold_log_p).mean()
        assert torch.isclose(scores.extras["log_p"][layer], drop, atol=1e-4)
        assert torch.isclose(scores.variance[layer], (whole.correct - without.correct).var())


def test_ffns_can_be_ranked_on_rows_apart_from_those_that_are_scored(tmp_path):
    for name, rows in (("copa.jsonl", ROWS[:1]), ("copa.train.jsonl", ROWS[1:])):
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "swapped").mkdir()
    (tmp_path / "swapped" / "copa.jsonl").write_text((tmp_path / "copa.train.jsonl").read_text())
    model = load_model("tiny-opt")
    apart = ffn_importance(model, load_task("copa", data=tmp_path), rank_split="train")
    expected = ffn_importance(model, load_task("copa", data=tmp_path / "swapped"))
    assert torch.equal(apart.extras["log_p"], expected.extras["log_p"])
    assert torch.equal(apart.values, expected.values)
    assert (apart.n, apart.provenance["rank_split"], expected.provenance["rank_split"]) == (2, "train", None)


def test_ranking_ffns_on_rows_that_are_not_there_is_refused(task):
    with pytest.raises(InputError, match=r"copa has no train rows to rank by: put a copa\.train\.jsonl"):
        ffn_importance(load_model("tiny-opt"), task, rank_split="train")
    with pytest.raises(InputError, match="rank_split must be None or 'train', not 'test'"):
        ffn_importance(load_model("tiny-opt"), task, rank_split="test")
