"""A model whose induction heads are known: its in-context tasks need these heads and no others."""

from itertools import combinations, pairwise

import pytest
from support.synthetic_tasks import write_tasks

from headcount.importance import accuracy, head_importance, load_task, prune
from headcount.importance.evaluation import encode_examples
from headcount.tracing import load_model, masked

PREVIOUS_TOKEN, INDUCTION = (0, 0), ((1, 2), (1, 3))
NEEDED = {PREVIOUS_TOKEN, *INDUCTION}
OTHERS = [(layer, head) for layer in range(2) for head in range(4) if (layer, head) not in NEEDED]


@pytest.fixture(scope="module")
def model():
    return load_model("tiny-opt")


@pytest.fixture(scope="module", params=["successor", "recall"])
def task(request, tmp_path_factory):
    return load_task(request.param, data=write_tasks(tmp_path_factory.mktemp("rows"), scored=100))


@pytest.fixture(scope="module")
def importance(model, task):
    return head_importance(model, task.examples())


def without(model, task, heads):
    with masked(model, heads=list(heads)):
        return accuracy(model, task)


def test_every_word_is_one_token_and_the_right_choice_was_shown(model, task):
    for document in task.documents():
        words = document.requests[0].context.split()
        for request in encode_examples(model, document.requests, task.encoding):
            assert (request.start, len(request.ids)) == (len(words) + 1, len(words) + 2)  # one token begins the text
        choices = [request.continuation.strip() for request in document.requests]
        assert len(set(choices)) == 4
        assert set(choices) <= set(words)
        assert (words[-1], choices[document.gold[0]]) in pairwise(words[:-1])


def test_the_whole_model_can_do_it(model, task):
    whole = accuracy(model, task)
    assert whole.n == 100
    assert whole.value >= 0.9
    assert whole.chance == 0.25


def test_without_its_induction_heads_it_guesses(model, task):
    for removed in (INDUCTION, (PREVIOUS_TOKEN,)):
        left = without(model, task, removed)
        assert left.value <= left.chance + 2 * left.stderr, removed


def test_without_as_many_others_it_can_still_do_it(model, task):
    for removed in combinations(OTHERS, len(INDUCTION)):
        assert without(model, task, removed).value >= 0.9, removed


def test_importance_names_these_heads(importance):
    assert {(layer, head) for layer, head, _ in importance.top(3)} == NEEDED
    *_, third = importance.top(3)[-1]
    *_, fourth = importance.top(4)[-1]
    assert third > 100 * fourth


def test_pruned_by_importance_it_can_still_do_it_and_in_random_orders_it_cannot(model, task, importance):
    percents = [12.5 * count for count in range(1, 9)]
    curve = prune(model, task, importance, percents=percents)
    last = curve.removed.index(len(OTHERS))
    assert min(curve.value[: last + 1].tolist()) >= 0.9
    # The first head of the three to go is an induction head, for which the other one can stand in.
    assert max(curve.value[last + 2 :].tolist()) <= curve.chance + 0.1
    random = prune(model, task, percents=percents, strategy="random", seeds=range(5))
    assert (random.value[1 : last + 1] < curve.value[1 : last + 1]).all()
    assert random.value[last] < curve.value[last] - 0.2
