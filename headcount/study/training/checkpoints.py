"""The same measurements at several checkpoints of a model's training, each in a run of its own."""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from headcount.progress import say
from headcount.results import HeadAtlas, HeadScores, InputError, ResultName, Run, Table, open_run
from headcount.stats import largest_rise
from headcount.study.model_and_run import create_target_run, manifest_entry
from headcount.study.schedule import measure_units
from headcount.study.unit import Unit
from headcount.target import Target
from headcount.tracing import Model, load_model


def measure_checkpoints(
    target: Target, revisions: Sequence[str], units_of: Callable[[Model], Sequence[Unit]]
) -> dict[int, Run]:
    """Measure the same units at several checkpoints, one model in memory at a time.

    After an interruption the same call goes on: each checkpoint's run has its results already, or lacks them.

    Args:
        target: The model and the folder that takes the runs, each under the name of its checkpoint.
        revisions: Branches or tags of the model on the Hub, or folders of checkpoints. The last number in a name is the
            training step.
        units_of: Returns the units of a model.

    Returns:
        The run of each checkpoint by its training step, in order.

    Raises:
        InputError: A name has no step, two have one step, or a checkpoint cannot be opened.
    """
    runs = {}
    for step, revision in steps_of(revisions).items():
        say(f"checkpoint {revision}")
        model = _checkpoint(target, revision)
        run = create_target_run(replace(target, out=target.out / _folder_name(revision)), manifest_entry(model))
        measure_units(units_of(model), run, replace=target.replace)
        runs[step] = run
        del model
    return runs


def steps_of(revisions: Sequence[str]) -> dict[int, str]:
    """Return checkpoints by their training steps, in order.

    Raises:
        InputError: A name has no step, two have one step, or there are fewer than two.
    """
    steps: dict[int, str] = {}
    for revision in revisions:
        numbers = re.findall(r"\d+", _folder_name(revision))
        if not numbers:
            raise InputError(f"--revisions: expected names with a training step, such as step1000, got {revision!r}")
        if int(numbers[-1]) in steps:
            raise InputError(f"--revisions: {steps[int(numbers[-1])]!r} and {revision!r} are of one training step")
        steps[int(numbers[-1])] = revision
    if len(steps) < 2:
        raise InputError(f"--revisions: expected two checkpoints or more, got {len(steps)}")
    return dict(sorted(steps.items()))


def scores_over_training(runs: Mapping[int, Run]) -> dict[str, dict[int, HeadScores]]:
    """Return every score of the head atlases of some checkpoints, by its name and then by training step.

    Names are those of the atlas: `induction` on random tokens, `on_text/induction` on text. Only scores that all
    checkpoints have are in it.
    """
    by_step = {step: _named(run) for step, run in runs.items()}
    shared = [name for name in next(iter(by_step.values())) if all(name in scores for scores in by_step.values())]
    return {name: {step: scores[name] for step, scores in by_step.items()} for name in shared}


def training_table(runs: Mapping[int, Run]) -> Table:
    """Return, for each score of the head atlas, its highest head at the last checkpoint, and where this head forms.

    Returns:
        Columns: `score`; `head`, the highest at the last step; `first` and `last`, its score at the first and the last
        step; `rises_from`, `rises_to`, `rise` and `stderr`, the two checkpoints between which it rises most, by how
        much, and the error; `sure`, True if the rise is above twice its error.
    """
    records = []
    for name, scores in scores_over_training(runs).items():
        steps = sorted(scores)
        if not (best := scores[steps[-1]].top(1)):
            continue
        layer, head, value = best[0]
        rise = largest_rise(scores, (layer, head))
        records.append(
            {
                "score": name,
                "head": scores[steps[-1]].label(layer, head),
                "first": float(scores[steps[0]].values[layer, head]),
                "last": value,
                "rises_from": rise.before,
                "rises_to": rise.after,
                "rise": rise.size,
                "stderr": rise.stderr,
                "sure": rise.is_sure,
            }
        )
    return Table.of(records, "the highest heads at the last checkpoint, and where they form", steps=list(runs))


def open_checkpoints(folder: str | os.PathLike[str]) -> dict[int, Run]:
    """Open the runs that `measure_checkpoints` has written, by training step.

    Raises:
        InputError: The folder holds fewer than two of them.
    """
    places = [path.parent for path in Path(folder).glob("*/manifest.json")]
    return {step: open_run(path) for step, path in steps_of([str(path) for path in places]).items()}


def _named(run: Run) -> dict[str, HeadScores]:
    name = str(ResultName.atlas())
    atlas = run.get(name)
    if not isinstance(atlas, HeadAtlas):
        raise InputError(f"{run.folder} has no {name}: headcount atlas --revisions measures it")
    return {**atlas.random, **{f"on_text/{score}": part for score, part in atlas.on_text.items()}}


def _checkpoint(target: Target, revision: str) -> Model:
    """Open a checkpoint: a folder, or a revision of the target's model."""
    options: dict[str, Any] = {"dtype": target.dtype, "device_map": target.device}
    options |= {"stream": target.stream, "memory": target.memory}
    if target.remote:
        raise InputError("--revisions opens each checkpoint here: expected no --remote with it")
    if os.path.isdir(revision):
        return load_model(revision, **options)
    if target.model is None:
        raise InputError(f"--revisions: {revision!r} is no folder: expected --model with it, whose revision it is")
    return load_model(target.model, revision=revision, **options)


def _folder_name(revision: str) -> str:
    return re.sub(r"[^\w.+-]", "-", Path(os.path.normpath(revision)).name)
