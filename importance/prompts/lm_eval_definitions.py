"""Task definitions of lm-eval 0.4.13, read one at a time, and the task objects that lm-eval makes of them.

A definition is read by its path: lm-eval's own way of finding it parses thousands of YAML files first. The rows are
ours, so nothing is downloaded.
"""

import contextlib
import logging
import re
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from headcount.importance.rows.schema import Row
from headcount.results import InputError


def read_definition(definition: str | Path) -> dict[str, Any]:
    """Read a task definition, its functions imported.

    Args:
        definition: A path below lm_eval/tasks, or a file of this folder; or a whole path.
    """
    from lm_eval.tasks._yaml_loader import load_yaml

    ours = Path(str(files("headcount.importance.prompts"))) / definition
    config: dict[str, Any] = load_yaml(ours if ours.is_file() else _lm_eval_folder() / definition)
    # As lm-eval's own factory: these keys place a task among others and do not change it.
    return {key: value for key, value in config.items() if key not in {"tag", "group", "task_list", "include"}}


def build_task(config: dict[str, Any], dataset: Any) -> Any:
    """Return lm-eval's task object for a definition, with its rows from `dataset`.

    Args:
        config: From `read_definition`.
        dataset: A `datasets.DatasetDict` with every split that the definition names; None to let lm-eval load it.
    """
    from lm_eval.api.task import ConfigurableTask

    ours = {} if dataset is None else {"custom_dataset": lambda **options: dataset}
    with quiet_lm_eval():
        return ConfigurableTask(config={**config, **ours})


def dataset_splits(config: dict[str, Any], scored: Sequence[Row], pool: Sequence[Row]) -> Any:
    """Return rows as the splits that a definition names: the scored rows as the split it scores, the pool as others."""
    import datasets

    scored_split = config.get("test_split") or config["validation_split"]
    names = {config.get(key) for key in ("training_split", "validation_split", "test_split", "fewshot_split")} - {None}
    pool_rows = datasets.Dataset.from_list(list(pool or scored))
    return datasets.DatasetDict(
        dict.fromkeys(names, pool_rows) | {scored_split: datasets.Dataset.from_list(list(scored))}
    )


@cache
def definition_files() -> dict[str, Path]:
    """Return the file that defines each task of lm-eval, by name, without parsing the files."""
    task_name = re.compile(rb"^[\"']?task[\"']?:[ \t]*[\"']?([^\s\"'#\[]+)", re.MULTILINE)
    paths: dict[str, Path] = {}
    for path in sorted(_lm_eval_folder().rglob("*.yaml")):
        for name in task_name.findall(path.read_bytes()):
            paths.setdefault(name.decode(), path)
    return paths


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


@contextlib.contextmanager
def quiet_lm_eval() -> Iterator[None]:
    """Silence the progress bars of `datasets` and lm-eval's advice to authors of task definitions."""
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


def _lm_eval_folder() -> Path:
    spec = find_spec("lm_eval")
    if spec is None or spec.origin is None:
        raise InputError("lm-eval is not installed in this environment: pip install 'lm-eval>=0.4.13,<0.5'")
    return Path(spec.origin).parent / "tasks"
