"""A user's own task: rows that state contexts, choices and answers themselves."""

import json

import pytest
from reference.models import bpe_tokenizer, opt

from headcount.importance import accuracy, head_importance, load_task
from headcount.importance.tasks.catalogue import task_names
from headcount.importance.tasks.listing import list_tasks
from headcount.results import InputError
from headcount.tracing import load_model

ROWS = [
    {"context": "a b c a b", "choices": [" c", " d"], "gold": 0},
    {"context": "one two one", "choices": [" three", " two", " four"], "gold": [1, 2]},
    {"context": "", "choices": ["x", "y"], "gold": 1, "shot": "y!\n"},
]


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def folder(tmp_path):
    write(tmp_path / "my_task.jsonl", ROWS)
    write(tmp_path / "my_task.train.jsonl", [{"context": "so", "choices": [" it goes"], "gold": 0}, *ROWS])
    return tmp_path


def test_prompts_are_those_of_the_rows(folder):
    task = load_task("my_task", data=folder)
    assert task.metric == "acc"
    first, second, third = task.documents()
    assert [(request.context, request.continuation) for request in first.requests] == [
        ("a b c a b", " c"),
        ("a b c a b", " d"),
    ]
    assert (first.gold, second.gold, third.gold) == ((0,), (1, 2), (1,))
    assert len(second.requests) == 3
    assert task.source["files"]["my_task.jsonl"]["rows"] == 3


def test_shots_are_context_and_right_choice_or_stated_by_the_row(folder):
    contexts = [document.requests[0].context for document in load_task("my_task", data=folder).documents(shots=3)]
    assert all("so it goes\n\n" in context for context in contexts)
    assert "y!\n" in contexts[0]
    assert "a b c a b c\n\n" not in contexts[0]  # never itself


def test_a_single_choice_is_scored_as_the_greedy_continuation(tmp_path):
    write(tmp_path / "single.jsonl", [{"context": "a b a", "choices": [" b"], "gold": 0}])
    task = load_task("single", data=tmp_path)
    assert task.metric == "greedy"
    assert task.chance(task.documents()) == 0


def test_it_can_be_measured(folder):
    model, task = load_model(opt(), tokenizer=bpe_tokenizer()), load_task("my_task", data=folder, profile="paper")
    result = accuracy(model, task, shots=1)
    assert (result.n, result.chance) == (3, pytest.approx((1 / 2 + 2 / 3 + 1 / 2) / 3))
    assert head_importance(model, task.examples(1), encoding=task.encoding).n == 4


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (
            {"context": "a", "choices": [" b"]},
            "line 2: expected 'gold' to be the number of a choice, 0 to 0",
        ),
        ({"context": "a", "choices": [" b"], "gold": 1}, "0 to 0, or several, got 1"),
        ({"context": "a", "choices": [" b"], "gold": []}, "got \\[\\]"),
        ({"context": "a", "choices": [" b"], "gold": True}, "got True"),
        ({"context": "a", "choices": [" b", " "], "gold": 0}, "expected 'choices' to be a list of texts, none blank"),
        ({"context": 3, "choices": [" b"], "gold": 0}, "expected 'context' to be text"),
        ({"choices": [" b"], "gold": 0}, "a row without 'context'"),
        ({"context": "a", "choices": [" b"], "gold": 0, "shot": 1}, "expected 'shot' to be text, got 1"),
    ],
)
def test_bad_rows_are_named_by_file_and_line(tmp_path, bad, message):
    write(tmp_path / "my_task.jsonl", [ROWS[0], bad])
    with pytest.raises(InputError, match=message):
        load_task("my_task", data=tmp_path)


def test_an_unknown_name_is_refused_with_the_tasks_of_the_folder(folder):
    with pytest.raises(
        InputError, match=r"no task is called 'my_tsk'.* has no my_tsk.jsonl: it holds the rows of my_task$"
    ):
        load_task("my_tsk", data=folder)


def test_a_known_name_means_the_known_task(folder):
    write(folder / "plural.jsonl", ROWS)
    assert load_task("plural", data=folder).source["source"] == "built in"


def test_profiles_encode_texts_jointly_or_apart(folder):
    assert [load_task("my_task", profile, folder).encoding for profile in ("harness", "paper")] == ["joint", "apart"]


def test_tasks_of_a_folder_are_listed_after_the_known_ones(folder):
    write(folder / "plural.jsonl", ROWS)
    *known, last = list_tasks(folder)
    assert (last.task, last.source, last.here) == ("my_task", str(folder), True)
    assert [listed.task for listed in known] == task_names()


def test_names_that_stand_for_something_else_are_refused(folder):
    write(folder / "mean.jsonl", ROWS)
    with pytest.raises(InputError, match=r"no task can be called mean: .* rename mean\.jsonl"):
        load_task("mean", data=folder)
    with pytest.raises(InputError, match="no task is called"):
        load_task("../my_task", data=folder / "..")
