"""Shots: the same draw for a seed and a document, whatever else is drawn; never the document itself."""

import json

import pytest

from headcount.importance import load_task
from headcount.importance.rows.definitions import paper_tasks
from headcount.importance.rows.rows import content_hash
from headcount.importance.tasks.catalogue import task_names
from headcount.importance.tasks.shots import ShotPool
from headcount.results import InputError

FIELDS = ("goal", "sol1", "sol2", "label")


def row(number, **changed):
    return {"goal": f"goal {number}", "sol1": "this", "sol2": "that", "label": number % 2, **changed}


def write(folder, **files):
    for name, rows in files.items():
        path = folder / f"{name.replace('_train', '.train').replace('_shots', '.shots')}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def contexts(task, **arguments):
    """Each document's context with shots, by the document's content."""
    documents = task.documents(**arguments)
    hashes = [content_hash(task.rows.scored[document.index], task.fields) for document in documents]
    return {key: document.requests[0].context for key, document in zip(hashes, documents, strict=True)}


@pytest.fixture
def folder(tmp_path):
    return write(tmp_path, piqa=[row(n) for n in range(20)], piqa_train=[row(n) for n in range(100, 140)])


def test_the_same_seed_draws_the_same_shots_and_another_seed_others(folder):
    task = load_task("piqa", data=folder)
    assert task.documents(shots=3, seed=1) == load_task("piqa", data=folder).documents(shots=3, seed=1)
    assert task.documents(shots=3, seed=1) != task.documents(shots=3, seed=2)
    assert task.examples(shots=3, seed=1) == task.examples(shots=3, seed=1)


@pytest.mark.parametrize("profile", ["harness", "paper"])
def test_shots_depend_on_neither_limit_nor_order(tmp_path, folder, profile):
    whole = contexts(load_task("piqa", profile, folder), shots=3)
    few = contexts(load_task("piqa", profile, folder), shots=3, limit=4)
    assert few.items() <= whole.items()
    (tmp_path / "other").mkdir()
    scored, pool = range(19, -1, -1), [*range(120, 140), *range(119, 99, -1)]
    other = write(tmp_path / "other", piqa=map(row, scored), piqa_train=map(row, pool))
    assert contexts(load_task("piqa", profile, other), shots=3) == whole


def test_fewer_shots_are_the_first_of_more(folder):
    task = load_task("piqa", data=folder)
    one_shot, three_shots = (task.documents(shots=shots)[0].requests[0].context for shots in (1, 3))
    assert three_shots.startswith(one_shot.removesuffix(task.documents()[0].requests[0].context))


def test_a_row_is_never_its_own_shot_nor_is_its_duplicate():
    pool = [row(1, idx=1), row(1, idx=2), row(2), row(3)]
    source = ShotPool(pool, FIELDS, lambda row: None)
    for seed in range(50):
        drawn = source.draw(row(1, idx=9), 2, seed)
        assert {shot["goal"] for shot in drawn} == {"goal 2", "goal 3"}
    assert len(source.draw(row(5), 3, 0)) == 3
    with pytest.raises(InputError, match="4 or more rows to draw shots from, got 3"):
        source.draw(row(5), 4, 0)


def test_examples_are_not_among_their_own_shots(tmp_path):
    folder = write(tmp_path, piqa=[row(0)], piqa_train=[row(n) for n in range(1, 5)])
    for number, example in enumerate(load_task("piqa", data=folder).examples(shots=3, seed=0), start=1):
        assert sum(example.context.count(f"goal {other}\n") for other in range(1, 5)) == 4
        assert example.context.count(f"goal {number}\n") == 1


def test_other_answers_to_the_same_question_are_not_shown(real_rows):
    task = load_task("multirc", data=real_rows)
    for row_, example in zip(task.rows.pool, task.examples(shots=5, limit=60), strict=False):
        assert example.context.count(f"Question: {row_['question']}\n") == 1


@pytest.mark.parametrize("name", task_names())
def test_what_is_scored_is_never_shown(name, real_rows):
    task = load_task(name, data=None if name not in paper_tasks() else real_rows)
    scored, pool = ({content_hash(row, task.fields) for row in rows} for rows in (task.rows.scored, task.rows.pool))
    assert scored
    assert pool
    assert not scored & pool


@pytest.mark.parametrize("profile", ["harness", "paper"])
@pytest.mark.parametrize("name", task_names())
def test_every_task_gives_documents_and_examples(name, profile, real_rows):
    task = load_task(name, profile, real_rows if name in paper_tasks() else None)
    documents = task.documents(shots=5, limit=25, seed=0)
    assert 0 < len(documents) <= 25
    for document in documents:
        assert document.gold
        assert all(0 <= choice < len(document.requests) for choice in document.gold)
        assert all(request.continuation.strip() for request in document.requests)
    examples = task.examples(shots=5, limit=25, split="train", seed=0)
    assert len(examples) == 25
    assert all(example.continuation.startswith(" ") for example in examples)
    assert len(task.documents(limit=10**6)) == len(task.rows.scored)
    assert json.loads(json.dumps(task.source)) == task.source


def test_without_rows_to_draw_from_documents_stand_alone(tmp_path):
    task = load_task("piqa", data=write(tmp_path, piqa=[row(1), row(2)]))
    assert len(task.documents(shots=0, limit=10)) == 2
    with pytest.raises(InputError, match=r"no rows to draw 1 shots from: put a piqa\.train\.jsonl or"):
        task.documents(shots=1)
    with pytest.raises(InputError, match=r"no rows to take examples from: put a piqa\.train\.jsonl"):
        task.examples()


def test_shots_come_from_the_shots_file_where_there_is_no_train_file(tmp_path):
    folder = write(tmp_path, piqa=[row(1)], piqa_shots=[row(n) for n in range(10, 13)])
    task = load_task("piqa", data=folder)
    assert task.source["pool"] == ["piqa.shots.jsonl"]
    assert len(task.examples(shots=2)) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"shots": -1}, "expected 0 shots or more, got -1"),
        ({"limit": -5}, "expected a limit of 1 or more, got -5"),
        ({"shots": 1.5}, "expected 0 shots or more, got 1.5"),
        ({"limit": True}, "expected a limit of 1 or more, got True"),
        ({"limit": 0}, "expected a limit of 1 or more, got 0"),
        ({"seed": -1}, "expected a seed of 0 or more, got -1"),
        ({"shots": 41}, "expected 41 or more rows to draw shots from, got 40"),
    ],
)
def test_numbers_out_of_range_are_refused(folder, arguments, message):
    task = load_task("piqa", data=folder)
    with pytest.raises(InputError, match=message):
        task.documents(**arguments)
    with pytest.raises(InputError):
        task.examples(**arguments)


def test_an_unknown_split_is_refused(folder):
    with pytest.raises(InputError, match="expected the split 'train' or 'scored', got 'test'"):
        load_task("piqa", data=folder).examples(split="test")


def test_a_limit_below_the_first_question_says_so(real_rows):
    with pytest.raises(InputError, match=r"whole questions.*raise the limit"):
        load_task("multirc", "paper", real_rows).documents(limit=1)
