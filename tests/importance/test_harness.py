"""The harness profile equals lm-eval: its prompts, its verdicts."""

import sys
from types import ModuleType

import datasets
import numpy as np
import pytest

from headcount.importance import lm_eval_task, load_task
from headcount.importance.prompts.lm_eval_definitions import build_task, definition_files, read_definition
from headcount.importance.rows.definitions import paper_tasks
from headcount.importance.tasks.shots import ShotPool
from headcount.importance.tasks.task import question_of
from headcount.results import InputError

SIXTEEN = sorted(paper_tasks())
DOCUMENTS = 12


@pytest.fixture(params=SIXTEEN)
def task(request, real_rows):
    return load_task(request.param, data=real_rows)


@pytest.fixture
def oracle(task, monkeypatch):
    """lm-eval's task with all rows, from its own definition, ReCoRD included."""
    squad = ModuleType("transformers.data.metrics.squad_metrics")
    squad.compute_exact = lambda gold, answer: int(gold.lower() == answer.lower())
    squad.compute_f1 = lambda gold, answer: 0.0
    parent = ModuleType("transformers.data.metrics")
    parent.squad_metrics = squad
    monkeypatch.setitem(sys.modules, "transformers.data.metrics", parent)
    monkeypatch.setitem(sys.modules, "transformers.data.metrics.squad_metrics", squad)
    config = read_definition(definition_files()["sglue_rte" if task.name == "rte" else task.name])
    names = {config.get(f"{kind}_split"): kind for kind in ("training", "validation", "test")}
    last = config.get("test_split") or config["validation_split"]
    parts = {split: datasets.Dataset.from_list(list(task.rows.pool)) for split in names if split}
    return build_task(config, datasets.DatasetDict(parts | {last: datasets.Dataset.from_list(list(task.rows.scored))}))


@pytest.mark.parametrize("shots", [0, 3])
def test_prompts_are_byte_for_byte_lm_evals(task, oracle, shots):
    documents = task.documents(shots=shots, limit=DOCUMENTS, seed=7)
    pool = datasets.Dataset.from_list(list(task.rows.pool))
    solved = list(oracle.config.process_docs(pool) if oracle.config.process_docs else pool)
    source = ShotPool(task.rows.pool, task.fields, question_of)
    places = {id(row): place for place, row in enumerate(task.rows.pool)}
    for document, row in zip(documents, oracle.eval_docs, strict=False):
        drawn = source.draw(task.rows.scored[document.index], shots, 7)
        oracle.sampler.sample = lambda n, eval_doc=None, drawn=drawn: [solved[places[id(chosen)]] for chosen in drawn]
        instances = oracle.construct_requests(row, oracle.fewshot_context(row, shots))
        expected = [instance.args for instance in (instances if isinstance(instances, list) else [instances])]
        assert [(request.context, request.continuation) for request in document.requests] == expected


def test_verdicts_are_lm_evals(task, oracle):
    generator = np.random.default_rng(0)
    documents = task.documents(limit=40)
    log_p = [[-generator.random() for _ in document.requests] for document in documents]
    greedy = [[generator.random() < 0.5 for _ in document.requests] for document in documents]
    results = [
        oracle.process_results(row, list(zip(*answers, strict=True)))
        for row, *answers in zip(oracle.eval_docs, log_p, greedy, strict=False)
    ]
    expected = [bool(result["em" if task.metric == "exact" else "acc"]) for result in results]
    assert task.correct(documents, log_p, greedy) == expected


@pytest.mark.parametrize("name", SIXTEEN)
def test_the_table_of_tasks_agrees_with_lm_evals_definitions(name):
    entry = paper_tasks()[name]
    config = read_definition(entry.lm_eval)
    assert [part for part in (config["dataset_path"], config.get("dataset_name")) if part] == list(entry.hub)
    assert (config.get("test_split") or config["validation_split"]) == entry.scored
    assert (config.get("training_split") or "") == entry.train


def test_every_lm_eval_definition_is_found_by_name():
    definitions = definition_files()
    assert len(definitions) > 10_000
    assert definitions["sciq"].name == "sciq.yaml"
    assert definitions["mmlu_anatomy"].name == "mmlu_anatomy.yaml"


def test_examples_go_on_with_the_right_choice(task):
    for document, example in zip(task.documents(limit=5), task.examples(limit=5, split="scored"), strict=True):
        assert example == document.requests[document.gold[0]]


def test_lm_eval_gets_the_same_rows(real_rows):
    lm_evals = lm_eval_task("ARC-Easy", real_rows)
    assert (lm_evals.config.task, len(lm_evals.eval_docs)) == ("arc_easy", 300)
    assert len(lm_evals.training_docs()) == 200
    with pytest.raises(InputError, match=r"expected one of arc_easy, .*, got 'antonym'"):
        lm_eval_task("antonym")
