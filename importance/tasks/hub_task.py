"""Any other task of lm-eval, whose rows lm-eval loads from the Hub."""

from pathlib import Path
from typing import Any

from headcount.importance.prompts.harness import HarnessPrompts
from headcount.importance.prompts.lm_eval_definitions import (
    build_task,
    check_scorable,
    definition_files,
    read_definition,
)
from headcount.importance.rows.folder import tasks_in
from headcount.importance.rows.hub import HUB, revision, unreachable
from headcount.importance.rows.rows import HALVES, Rows, halves
from headcount.importance.rows.schema import Row
from headcount.importance.tasks.catalogue import unknown_task
from headcount.importance.tasks.task import Profile, Task
from headcount.results import InputError


def load_hub_task(name: str, profile: Profile, data: str | Path | None) -> Task:
    """Load a task of lm-eval that is none of the sixteen, with its rows, as lm-eval does.

    Args:
        name: The task's name in lm-eval.
        profile: Only `"harness"` is possible.
        data: Must be left out or `"hub"`.

    Raises:
        InputError: lm-eval has no such task, it is not scored by the likelihood of choices, or the Hub is out of reach.
    """
    if name not in definition_files():
        error = unknown_task(name, list(definition_files()))
        if data in {None, HUB}:
            raise error
        raise InputError(f"{error}; and {data} has no {name}.jsonl: it holds the rows of {tasks_in(Path(str(data)))}")
    if profile == "paper":
        raise InputError(f"{name} is not one of the paper's tasks: expected the profile 'harness'")
    if data not in {None, HUB}:
        raise InputError(f"the rows of {name} come from the Hub: expected data to be left out, got {data}")
    config = read_definition(definition_files()[name])
    check_scorable(config, name)
    try:
        task = build_task(config, None)
    except Exception as error:
        raise unreachable(name, error) from error
    rows = _rows(task, config)
    classes = isinstance(config.get("doc_to_choice"), list)
    metric = "greedy" if task.OUTPUT_TYPE == "loglikelihood" else "acc"
    return Task(name, profile, metric, rows, HarnessPrompts(task, process=False), tuple(rows.scored[0]), classes)


def _rows(task: Any, config: dict[str, Any]) -> Rows:
    """Return the rows that lm-eval loaded; the pool is the train split, another unscored split, or half the rows."""
    scored_split = config.get("test_split") or config["validation_split"]
    loaders = {
        config.get("training_split"): task.training_docs,
        config.get("fewshot_split"): task.fewshot_docs,
        config.get("validation_split"): task.validation_docs,
    }
    pool_split = next((split for split in loaders if split not in {None, scored_split}), None)
    scored: list[Row] = list(task.eval_docs)
    pool: list[Row] = list(loaders[pool_split]()) if pool_split else []
    if pool_split is None:
        scored, pool = halves(scored, scored[0])
    return Rows(
        scored,
        pool,
        {
            "source": "Hub",
            "dataset": config.get("dataset_path"),
            "configuration": config.get("dataset_name"),
            "revision": revision(task.dataset[scored_split]),
            "rows": {"scored": len(scored), "pool": len(pool)},
            "scored": scored_split,
            "pool": pool_split or scored_split,
            "split": "as on the Hub" if pool_split else HALVES,
        },
    )
