"""Function-vector heads: equal to the plain loops; right on a model built by hand; odd input refused."""

import json

import pytest
import torch
from reference import ablation, function_vectors, hand_built
from reference.models import BUILDERS, bpe_tokenizer, word_tokenizer

from headcount.importance import Example, function_vector_heads, head_importance, load_task
from headcount.importance.evaluation import encode_examples
from headcount.results import HeadScores, InputError
from headcount.tracing import load_model, masked

SHOTS, N = 2, 3


@pytest.fixture(scope="module")
def plural():
    return load_task("plural")


@pytest.fixture(scope="module")
def models():
    return {name: load_model(BUILDERS[name](), tokenizer=bpe_tokenizer()) for name in ("opt", "llama", "mistral")}


@pytest.fixture(scope="module")
def copy_task(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rows")
    words = [f" w{number}" for number in range(hand_built.WORDS)]
    for suffix, order in (("", words), (".train", words[::-1])):
        rows = [
            {"context": f"{word} ->", "choices": [word, words[place - 1]], "gold": 0}
            for place, word in enumerate(order)
        ]
        (folder / f"copy{suffix}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return load_task("copy", data=folder)


@pytest.fixture(scope="module")
def hand_built_model():
    return load_model(hand_built.copy_task_model(), tokenizer=word_tokenizer())


def prompts(model, task, shots=SHOTS, n=N):
    """Return the requests for the means, and those with shuffled answers."""
    examples = task.examples(shots, 2 * n)
    shuffled = [Example(example.counterfactual, example.continuation) for example in examples[1::2]]
    return (encode_examples(model, part, task.encoding) for part in (examples[::2], shuffled))


@pytest.mark.parametrize("name", ["opt", "llama", "mistral"])  # the last one has a window: no prompts share a row
@pytest.mark.parametrize("method", ["patch", "gradient"])
def test_it_equals_the_plain_loop(models, plural, name, method):
    hf, model = BUILDERS[name](), models[name]
    reference, shuffled = prompts(model, plural)
    rows = [list(request.ids[:-1]) for request in reference]
    means, _ = ablation.means(hf, rows, [[request.start - 1] for request in reference])
    loop = function_vectors.patched if method == "patch" else function_vectors.estimated
    expected = torch.stack([loop(hf, means, list(request.ids), request.start) for request in shuffled])
    scores = function_vector_heads(model, plural, SHOTS, method, N)
    scale = float(expected.abs().max())
    assert torch.allclose(scores.values, expected.mean(0), atol=1e-5 * scale, rtol=1e-4)
    assert torch.allclose(scores.variance, expected.var(0), atol=1e-5 * scale**2, rtol=1e-3)
    assert torch.allclose(scores.folds, expected, atol=1e-5 * scale, rtol=1e-4)
    assert scores.n == N


@pytest.mark.parametrize("method", ["patch", "gradient"])
def test_batches_do_not_change_the_scores(models, plural, method):
    first, second = (
        function_vector_heads(models["opt"], plural, SHOTS, method, N, batch_size=size).values for size in (1, N)
    )
    assert torch.allclose(first, second, rtol=1e-4, atol=1e-6 * float(first.abs().max()))


@pytest.mark.parametrize("method", ["patch", "gradient"])
def test_the_head_that_holds_the_task_and_no_other_is_named(hand_built_model, copy_task, method):
    scores = function_vector_heads(hand_built_model, copy_task, 3, method, 6)
    assert scores.top(1)[0][:2] == (1, 1)
    assert scores.values[1, 1] > (0.5 if method == "patch" else 0.005)  # to first order p hardly rises from near 0
    others = scores.values.flatten()[torch.arange(8) != 5]
    assert others.abs().max() < 1e-2 * scores.values[1, 1]


def test_heads_that_a_task_needs_in_another_way_are_not_function_vector_heads(hand_built_model, copy_task):
    """L1H0 brings the question, without which there is no answer; but its mean over other questions brings none."""
    drops = head_importance(hand_built_model, copy_task.examples(3, 6), "oracle").values
    assert drops[1, 0] > 1
    assert function_vector_heads(hand_built_model, copy_task, 3, "patch", 6).values[1, 0].abs() < 1e-3


def test_several_tasks_count_alike(models, plural, tmp_path):
    tasks = [plural, load_task("letter_case")]
    single = [function_vector_heads(models["opt"], task, SHOTS, n=N) for task in tasks]
    both = function_vector_heads(models["opt"], tasks, SHOTS, n=N)
    assert torch.allclose(both.values, torch.stack([scores.values for scores in single]).mean(0))
    assert torch.allclose(both.folds, torch.stack([scores.folds for scores in single]).mean(0))
    assert torch.equal(both.extras["plural"], single[0].values)
    assert torch.equal(both.extras["letter_case_stderr"], single[1].stderr)
    assert both.n == 2
    assert [task["name"] for task in both.provenance["tasks"]] == ["plural", "letter_case"]
    assert (both.provenance["n_examples"], both.provenance["n_reference"]) == (N, N)
    both.save(tmp_path / "heads.safetensors")
    assert torch.equal(HeadScores.load(tmp_path / "heads.safetensors").extras["plural"], both.extras["plural"])


def test_prompts_for_the_mean_and_prompts_to_patch_are_different_rows(plural):
    from headcount.importance.function_vectors import _prompts

    whole, shuffled = _prompts(plural, 3, 1000, 0)
    questions = [{prompt.context.rpartition("\n")[2] for prompt in part} for part in (whole, shuffled)]
    assert not questions[0] & questions[1]
    assert min(map(len, questions)) > 30


def test_a_head_that_is_removed_has_no_effect(models, plural):
    with masked(models["opt"], heads=[(1, 2)]):
        scores = function_vector_heads(models["opt"], plural, SHOTS, "patch", N)
    assert scores.values[1, 2].abs() < 1e-4 * scores.values.abs().max()
    assert scores.provenance["removed_heads"] == [[1, 2]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((2, "oracle"), "method: expected one of gradient, patch"),
        ((2, "patch", 0), "n: expected"),
        ((1,), "2 shots or more with different answers"),
        ((0,), "2 shots or more with different answers"),
    ],
)
def test_bad_input_is_refused(models, plural, arguments, message):
    with pytest.raises(InputError, match=message):
        function_vector_heads(models["opt"], plural, *arguments)


def test_tasks_are_given_and_distinct(models, plural):
    for tasks in ([], [plural, plural]):
        with pytest.raises(InputError, match="one task or more, each once"):
            function_vector_heads(models["opt"], tasks)
