"""The built-in word lists: big enough, sound, and always the same."""

import pytest

from headcount.importance import load_task
from headcount.importance.rows.word_lists import read_word_list
from headcount.importance.tasks.catalogue import WORD_LISTS


@pytest.mark.parametrize("name", WORD_LISTS)
def test_lists_have_a_hundred_pairs_or_more_each_its_own(name):
    rows = read_word_list(name)
    pairs = [(row["input"], row["output"]) for row in [*rows.scored, *rows.pool]]
    assert len(pairs) >= 100
    assert len({left for left, _ in pairs}) == len(pairs)
    assert all(left == left.strip() and right == right.strip() and left != right for left, right in pairs)
    assert min(len(rows.scored), len(rows.pool)) >= 50
    assert rows.source["source"] == "built in"


@pytest.mark.parametrize("name", WORD_LISTS)
def test_four_different_choices_one_of_them_right(name):
    task = load_task(name)
    documents = task.documents()
    for document in documents:
        row = task.rows.scored[document.index]
        assert len({request.continuation for request in document.requests}) == 4
        (gold,) = document.gold
        assert document.requests[gold].continuation == f" {row['output']}"
    assert task.chance(documents) == 0.25
    # No place is right so often that always choosing it would be a strategy.
    assert max(sum(document.gold == (place,) for document in documents) for place in range(4)) < 0.4 * len(documents)


def test_prompts_and_choices_are_these():
    task = load_task("country_capital")
    (document,) = task.documents(limit=1)
    assert [request.context for request in document.requests] == ["Spain ->"] * 4
    assert [request.continuation for request in document.requests] == [" Madrid", " Roseau", " Venezuela", " Samoa"]
    assert task.documents(shots=2, limit=1)[0].requests[0].context == "Thailand -> Bangkok\nPeru -> Lima\nSpain ->"


def test_the_wrong_choices_of_recall_are_of_the_same_record_and_of_another_city():
    task = load_task("key_value")
    for document in task.documents(limit=20):
        record = document.requests[0].context.removesuffix(" ->")
        choices = [request.continuation.strip() for request in document.requests]
        assert sum(f": {word}" in record for word in choices) == 3
        assert f"city: {choices[document.gold[0]]}" in record
