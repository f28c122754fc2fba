"""A model with NaN among its weights: every score that they reach is n/a, counted and shown, never a number or rank."""

import json
import math

import pytest
import torch
from reference.models import bpe_tokenizer, llama, opt
from support.headcount_runs import run

from headcount import viz
from headcount.importance import accuracy, ffn_importance, head_importance, load_task, prune
from headcount.importance.documents import Document, Example
from headcount.importance.likelihoods import metrics
from headcount.induction import copying, distinct_tokens, prefix_matching, repeated_tokens
from headcount.results import HeadScores, open_run
from headcount.tracing import load_model

WEIGHTS = "32 of 1024 weights in model.layers.1.self_attn.q_proj.weight that are NaN or infinite"


@pytest.fixture(scope="module")
def broken():
    """Queries of layer 1's head 1 are NaN."""
    hf = llama()
    hf.model.layers[1].self_attn.q_proj.weight.data[9] = math.nan
    with pytest.warns(UserWarning, match=WEIGHTS):
        return load_model(hf, tokenizer=bpe_tokenizer())


def test_induction_scores_are_nan_where_the_weights_reach_and_nowhere_else(broken):
    whole = load_model(llama(), tokenizer=bpe_tokenizer())
    tokens = repeated_tokens(broken, period=20, n_sequences=2)
    scores, right = (prefix_matching(model, tokens, 20) for model in (broken, whole))
    missing = scores.values.isnan()
    assert missing.tolist() == [[False] * 4, [False, True, False, False], [True] * 4]
    torch.testing.assert_close(scores.values[~missing], right.values[~missing])
    distinct = distinct_tokens(broken, 40)
    for definition in ("head-output", "olsson"):
        assert copying(broken, distinct, definition).values.isnan().nonzero().tolist() == [[1, 1]]


def test_eigenvalues_of_what_is_not_finite_are_not_numbers():
    hf = llama()
    hf.model.layers[2].self_attn.o_proj.weight.data[0, 0] = math.inf
    with pytest.warns(UserWarning, match="1 of 1024 weights in model.layers.2.self_attn.o_proj.weight"):
        model = load_model(hf, tokenizer=bpe_tokenizer())
    scores = copying(model, distinct_tokens(model, 40), "eigenvalue")
    assert scores.values.isnan().nonzero().tolist() == [[2, 0]]


def test_what_is_nan_has_no_rank_anywhere():
    scores = HeadScores([[0.1, math.nan], [0.3, 0.2]])
    assert [place for *place, _ in scores.top(4)] == [[1, 0], [1, 1], [0, 0]]
    assert scores.ranking().tolist() == [0, 3, 2, 1]  # what was not measured is the last to be pruned
    assert scores.to_frame()["value"].isna().tolist() == [False, True, False, False]
    assert viz.heads(scores).data[0].hovertext[0][1].endswith("n/a (n = 1)<br>rank n/a of 4")


def test_no_task_is_answered_rightly_or_wrongly_by_nan(broken):
    task = load_task("key_value")
    found = accuracy(broken, task, limit=4)
    assert math.isnan(found.value)
    for values in (found.correct, found.choice, found.gold_log_p, found.margin):
        assert values.isnan().all()
    assert not found.beats_guessing
    assert head_importance(broken, task.examples(shots=1, limit=3)).values.isnan().all()
    ffns = ffn_importance(broken, task, limit=4)
    assert ffns.values.isnan().all()
    assert ffns.provenance["accuracy"] is None
    curve = prune(broken, task, HeadScores(torch.arange(12.0).reshape(3, 4).flip(0)), percents=(70,), limit=4)
    assert curve.value.isnan().tolist() == [True, False]  # without head 1 of layer 1 nothing is NaN


def test_one_nan_among_choices_makes_the_unit_unknown():
    requests = (Example("", "a"), Example("", "b"))
    documents = [Document(0, requests, (1,)), Document(1, requests, (0,))]
    found = metrics.correct("acc", documents, [[-1.0, math.nan], [-1.0, -2.0]], [[False] * 2] * 2)
    assert math.isnan(found[0])
    assert found[1] == 1
    assert math.isnan(metrics.chosen([-1.0, math.nan]))
    assert math.isnan(metrics.highest([math.nan, -1.0]))


STUDY = """
sequences = 2
control = false
examples = 4
head_percents = [50]
ffn_percents = [50]
[[tasks]]
names = ["key_value", "plural"]
limit = 4
"""


def test_a_study_of_such_a_model_ends_and_everything_says_what_is_missing(tmp_path, capsys):
    hf = opt()
    hf.model.decoder.layers[1].self_attn.q_proj.weight.data[9] = math.nan
    hf.save_pretrained(tmp_path / "model")
    bpe_tokenizer().save_pretrained(tmp_path / "model")
    (tmp_path / "study.toml").write_text(STUDY)
    capsys.readouterr()
    made = run(capsys, "study", tmp_path / "study.toml", "--model", tmp_path / "model", "--out", tmp_path / "run")
    assert made[0] == 0, made
    assert "32 of 1024 weights in model.decoder.layers.1.self_attn.q_proj.weight" in made[2]
    assert "left out, since expected at least 3 entries measured in all of key_value, plural" in made[2]
    found = open_run(tmp_path / "run")
    assert found["induction/prefix_matching"].values.isnan().sum() == 5
    status, out, err = run(capsys, "show", tmp_path / "run")
    assert (status, err) == (0, "")
    assert "induction/prefix_matching: successor, n = 2, 101 to 117 tokens, n/a for 5" in out
    assert "nan" not in out
    out = run(capsys, "show", tmp_path / "run", "--section", "importance")[1]
    assert "importance/heads/key_value.0shot: gradient, example, n = 4, n/a for 12" in out
    assert "nan" not in out
    values = json.loads(run(capsys, "show", tmp_path / "run", "--json")[1])["results"]
    assert values["importance/heads/key_value.0shot"] == {
        "definition": "gradient, example",
        "n": 4,
        "missing": 12,
        "top": [],
    }
    assert run(capsys, "report", tmp_path / "run", "--output", tmp_path / "report.html")[0] == 0
    assert ">nan<" not in (tmp_path / "report.html").read_text(encoding="utf-8").lower()
