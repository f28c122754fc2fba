"""`HarnessModel` in lm-eval equals lm-eval's own model, on real rows of all sixteen tasks."""

import logging
from functools import cache

import lm_eval
import pytest
from lm_eval.api.instance import Instance
from lm_eval.api.model import CachingLM
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

from headcount.importance import accuracy, lm_eval_task, load_task
from headcount.importance.lm_eval_adapter import HarnessModel
from headcount.importance.rows.definitions import paper_tasks
from headcount.results import InputError
from headcount.tracing import load_model, masked, pruned, save_pruned

LIMIT = 3


@pytest.fixture(scope="module")
def model():
    """Its context of 512 tokens is shorter than some prompts: they are cut, alike in both."""
    return load_model("tiny-opt")


@pytest.fixture(scope="module")
def hf_lm(model):
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    return HFLM(pretrained=model.hf, tokenizer=model.tokenizer, batch_size=4, max_length=model.sizes.context)


@pytest.fixture(scope="module", autouse=True)
def _without_a_description_of_the_machine():
    """lm-eval asks pip for all installed packages at each evaluation, for a second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lm_eval.evaluator.add_env_info", lambda results: None)
        yield


@pytest.fixture(scope="module")
def expected(hf_lm, real_rows):
    """Results and answers of lm-eval's own model; each is computed once."""
    return cache(lambda name, shots: evaluate(hf_lm, name, real_rows, shots))


def evaluate(lm, name, rows, shots):
    task = lm_eval_task(name, rows)
    task.set_config("num_fewshot", shots)
    evaluation = lm_eval.simple_evaluate(
        model=lm,
        tasks=[task],
        num_fewshot=shots,
        limit=LIMIT,
        bootstrap_iters=0,
        log_samples=True,
        verbosity="ERROR",
        task_manager=TaskManager(include_defaults=False),  # the default one reads thousands of files
    )
    (name,) = evaluation["results"]
    answers = [sample["filtered_resps"] for sample in evaluation["samples"][name]]
    return evaluation["results"][name], answers


@pytest.mark.parametrize("shots", [0, 5])
@pytest.mark.parametrize("name", paper_tasks())
def test_log_likelihoods_and_results_equal_those_of_lm_evals_own_model(name, shots, model, expected, real_rows):
    our_result, ours = evaluate(HarnessModel(model), name, real_rows, shots)
    their_result, theirs = expected(name, shots)
    assert len(ours) == len(theirs) > 0
    for our_answers, their_answers in zip(ours, theirs, strict=True):
        for (our_log_p, our_greedy), (their_log_p, their_greedy) in zip(our_answers, their_answers, strict=True):
            assert float(our_log_p) == pytest.approx(float(their_log_p), abs=1e-3)
            assert our_greedy == their_greedy
    for metric in ("acc,none", "em,none"):
        assert our_result.get(metric) == their_result.get(metric)


@pytest.mark.parametrize("name", [name for name in paper_tasks() if name not in ("record",)])
def test_accuracy_equals_lm_evals_at_0_shots(name, model, expected, real_rows):
    result, _ = expected(name, 0)
    ours = accuracy(model, load_task(name, data=real_rows), limit=LIMIT)
    assert ours.value == pytest.approx(result["acc,none"])


def test_whole_texts_longer_than_the_context_score_as_in_lm_evals_own_model(model, hf_lm):
    text = "the quick brown fox jumps over the lazy dog " * 40
    assert len(model.tokenizer.encode(text)) > model.sizes.context
    requests = [Instance("loglikelihood_rolling", {}, (text,), 0), Instance("loglikelihood_rolling", {}, ("short",), 1)]
    ours, expected = (lm.loglikelihood_rolling(requests, disable_tqdm=True) for lm in (HarnessModel(model), hf_lm))
    assert ours == pytest.approx(expected, rel=1e-5)


def test_it_writes_no_texts(model):
    with pytest.raises(InputError, match="scores texts and writes none"):
        HarnessModel(model).generate_until([])


def test_a_pruned_folder_is_evaluated_in_one_line(model, real_rows, tmp_path):
    small = pruned(model, heads=[(0, 1), (1, 3)])
    save_pruned(small, tmp_path / "small")
    _, answers = evaluate(HarnessModel(load_model(tmp_path / "small")), "copa", real_rows, 0)
    _, expected = evaluate(HFLM(pretrained=small.hf, tokenizer=model.tokenizer, max_length=512), "copa", real_rows, 0)
    assert len(answers) == len(expected) > 0
    for ours, theirs in zip(answers, expected, strict=True):
        assert [log_p for log_p, _ in ours] == pytest.approx([log_p for log_p, _ in theirs], abs=1e-3)


def test_lm_evals_cache_is_refused_while_parts_are_removed(model, tmp_path):
    harness, requests = HarnessModel(model), [Instance("loglikelihood", {}, ("a b", " c"), 0, metadata=("t", 0, 1))]
    cached = CachingLM(harness, str(tmp_path / "cache.db"))
    whole = cached.loglikelihood(requests)
    assert cached.loglikelihood(requests) == whole == harness.loglikelihood(requests)
    with masked(model, heads=[(0, 0), (0, 1), (0, 2), (0, 3)]):
        with pytest.raises(InputError, match="use_cache= serves answers by request alone"):
            cached.loglikelihood(requests)
        with pytest.raises(InputError, match="use_cache="):
            CachingLM(HarnessModel(model), str(tmp_path / "cache.db"))
        assert HarnessModel(model).loglikelihood(requests) != whole
    hooks = [("blocks.0.hook_mlp_out", lambda value, hook: 0 * value)]
    with model.hooks(fwd_hooks=hooks), pytest.raises(InputError, match="use_cache="):
        cached.loglikelihood(requests)
    with pytest.raises(InputError, match="use_cache="):
        CachingLM(HarnessModel(pruned(model, heads=[(0, 0)])), str(tmp_path / "cache.db"))


def test_a_plain_model_is_refused_with_the_way_to_go(model):
    with pytest.raises(InputError, match=r"HarnessModel\(load_model\(model, tokenizer=tokenizer\)\)"):
        HarnessModel(model.hf)


def test_chat_templates_are_those_of_lm_evals_own_model(model, hf_lm):
    harness, template = HarnessModel(model), "{% for m in messages %}[{{ m.role }}] {{ m.content }}{% endfor %}"
    with pytest.raises(InputError, match="has no chat template"):
        harness.chat_template(True)
    model.tokenizer.chat_template = template
    try:
        talk = [{"role": "user", "content": "one"}, {"role": "assistant", "content": "two"}]
        assert harness.chat_template(True) == template
        assert harness.chat_template(False) is None
        for prompted in (True, False):
            assert harness.apply_chat_template(talk, prompted) == hf_lm.apply_chat_template(talk, prompted)
    finally:
        model.tokenizer.chat_template = None
