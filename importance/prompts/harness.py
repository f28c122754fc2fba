"""The prompts of lm-eval 0.4.13, made by lm-eval itself from its own task definitions.

One definition is read by its path: lm-eval's own way of finding it parses thousands of YAML files first. The rows are
ours, so nothing is downloaded.
"""

import contextlib
import logging
import re
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from headcount.importance.documents import Prompt
from headcount.importance.rows.schema import Row
from headcount.results import InputError


def configuration(definition: str | Path) -> dict[str, Any]:
    """What a task definition says, its functions imported.

    Args:
        definition: A path below lm_eval/tasks, or a file of this folder; or a whole path.
    """
    from lm_eval.tasks._yaml_loader import load_yaml

    ours = Path(str(files("headcount.importance.prompts"))) / definition
    config: dict[str, Any] = load_yaml(ours if ours.is_file() else _folder() / definition)
    # As lm-eval's own factory: these say where a task belongs, not what it is.
    return {key: value for key, value in config.items() if key not in {"tag", "group", "task_list", "include"}}


def build(config: dict[str, Any], dataset: Any) -> Any:
    """lm-eval's task object for a configuration, reading its rows from `dataset`.

    Args:
        config: From `configuration`.
        dataset: A `datasets.DatasetDict` with every split that the configuration names; None to let lm-eval load it.
    """
    from lm_eval.api.task import ConfigurableTask

    ours = {} if dataset is None else {"custom_dataset": lambda **options: dataset}
    with _quiet():
        return ConfigurableTask(config={**config, **ours})


def splits(config: dict[str, Any], scored: Sequence[Row], pool: Sequence[Row]) -> Any:
    """Rows as the splits that a configuration names: the scored rows as the split it scores, the pool as all others."""
    import datasets

    last = config.get("test_split") or config["validation_split"]
    named = {config.get(key) for key in ("training_split", "validation_split", "test_split", "fewshot_split")} - {None}
    other = datasets.Dataset.from_list(list(pool or scored))
    return datasets.DatasetDict(dict.fromkeys(named, other) | {last: datasets.Dataset.from_list(list(scored))})


class Harness:
    """Prompts as lm-eval makes them.

    Args:
        task: lm-eval's task object.
        process: Whether rows are raw, so that the task's own `process_docs` has to go over them first.
        right: Finds the right choices of a processed row, where the task's target names only one of several.
    """

    def __init__(self, task: Any, process: bool, right: Callable[[Row], Sequence[int]] | None = None) -> None:
        self.task, self._right = task, right
        self._process = task.config.process_docs if process else None

    def prompts(self, rows: Sequence[Row]) -> list[Prompt]:
        """The prompts of rows."""
        with _templates_compiled_once():
            return [self._prompt(row) for row in self._processed(rows)]

    def _processed(self, rows: Sequence[Row]) -> Sequence[Row]:
        if self._process is None or not rows:
            return rows
        import datasets

        with _quiet():
            processed: list[Row] = list(self._process(datasets.Dataset.from_list(list(rows))))
        return processed

    def _prompt(self, row: Row) -> Prompt:
        task = self.task
        context = task.fewshot_context(row, 0, gen_prefix=task.doc_to_prefix(row))
        made = task.construct_requests(row, context)
        pairs = [instance.args for instance in (made if isinstance(made, list) else [made])]
        choices = len(task.doc_to_choice(row)) if task.config.doc_to_choice is not None else 1
        contexts, continuations = zip(*(pair[:2] for pair in pairs[:choices]), strict=True)
        prefix = task.resolve_field(row, task.config.description) or ""
        contexts = tuple(context.removeprefix(prefix) for context in contexts)
        return Prompt(contexts, continuations, self._gold(row), self._shot(row), prefix)

    def _gold(self, row: Row) -> tuple[int, ...]:
        """The right choices, found as lm-eval's `process_results` finds them."""
        if self._right is not None:
            return tuple(self._right(row))
        if self.task.OUTPUT_TYPE == "loglikelihood":
            return (0,)
        choices = self.task.doc_to_choice(row)
        gold = self.task.doc_to_text(row) if self.task.multiple_input else self.task.doc_to_target(row)
        gold = gold if isinstance(gold, list) else [gold]
        return tuple(choices.index(right) if isinstance(right, str) else right for right in gold)

    def _shot(self, row: Row) -> str:
        """The row with its answer, as lm-eval's `fewshot_context` puts it."""
        task, style = self.task, self.task.fewshot_cfg
        text = task.doc_to_text(row, style.doc_to_text)
        choices: list[str] = task.doc_to_choice(row, style.doc_to_choice) if style.doc_to_choice else []
        target = task.doc_to_target(row, style.doc_to_target)
        if task.multiple_input:
            text, choices = choices[text], []
        turn = task.build_qa_turn(
            q=text,
            c=choices,
            a=target,
            gen_prefix=task.resolve_field(row, style.gen_prefix),
            tgt_delim=style.target_delimiter,
            few_delim=style.fewshot_delimiter,
        )
        return "".join(message.to_text() for message in turn)


@cache
def lm_eval_tasks() -> dict[str, Path]:
    """Every task that lm-eval defines, and the file that does, without parsing the files."""
    named = re.compile(rb"^[\"']?task[\"']?:[ \t]*[\"']?([^\s\"'#\[]+)", re.MULTILINE)
    found: dict[str, Path] = {}
    for path in sorted(_folder().rglob("*.yaml")):
        for name in named.findall(path.read_bytes()):
            found.setdefault(name.decode(), path)
    return found


def check_scorable(config: dict[str, Any], name: str) -> None:
    """Refuse a task whose answers are not choices with likelihoods.

    Raises:
        InputError: It generates text, or scores with a function of its own.
    """
    kind = "Python" if "class" in config else config.get("output_type", "generate_until")
    if kind not in {"multiple_choice", "loglikelihood"}:
        raise InputError(f"{name} is a {kind} task: expected one that is scored by the likelihood of given answers")
    if config.get("process_results") is not None:
        raise InputError(f"{name} is scored by a function of its own: expected a task scored by plain accuracy")


def _folder() -> Path:
    spec = find_spec("lm_eval")
    if spec is None or spec.origin is None:
        raise InputError("lm-eval is not installed in this environment: pip install 'lm-eval>=0.4.13,<0.5'")
    return Path(spec.origin).parent / "tasks"


@contextlib.contextmanager
def _templates_compiled_once() -> Iterator[None]:
    """lm-eval compiles every template again for every row, which takes ten times as long as all the rest."""
    from lm_eval.utils import env

    env.from_string = cache(env.from_string)
    try:
        yield
    finally:
        del env.from_string  # of this object; its class has the real one


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the bars of `datasets` and without lm-eval's advice to authors of task definitions."""
    import datasets

    logger = logging.getLogger("lm_eval")
    level, bars = logger.level, datasets.are_progress_bars_disabled()
    logger.setLevel(logging.ERROR)
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        logger.setLevel(level)
        if not bars:
            datasets.enable_progress_bars()
