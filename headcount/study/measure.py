"""What each command measures, as units of work."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Literal

from headcount import importance, induction
from headcount.importance.measure import RankSplit
from headcount.importance.rows.folder import check_folder
from headcount.importance.rows.hub import HUB
from headcount.importance.tasks.setup import TaskSetup
from headcount.importance.tasks.task import Profile
from headcount.importance.work import (
    accuracy_work,
    ffn_importance_work,
    head_importance_work,
)
from headcount.induction import prompts
from headcount.induction.work import patterns_work, repeat_loss_work, score_heads_work
from headcount.progress import Progress, say
from headcount.results import Accuracy, HeadScores, InductionScores, InputError, LayerScores, Patterns, RepeatLoss, Run
from headcount.stats import compare
from headcount.study.units import ImpossibleError, Unit
from headcount.tracing import Model, randomised
from headcount.tracing.internal import Work

CONTROL_SEQUENCES = 10
"""Random weights differ little from sequence to sequence: the control takes no more than these."""


def induction_units(
    model: Model, n_sequences: int, seed: int, *, control: bool, prefix_definition: str = "successor"
) -> list[Unit]:
    """Everything the `induction` command measures."""
    asked = {"seed": seed, "n_sequences": n_sequences, "prefix_definition": prefix_definition}
    few = min(n_sequences, CONTROL_SEQUENCES)

    def scores(progress: Progress) -> tuple[HeadScores, ...]:
        return _maps(
            induction.score_heads(
                model, n_sequences, seed, prefix_definition=prefix_definition, progress=progress.advance
            )
        )

    def loss(progress: Progress) -> tuple[RepeatLoss]:
        return (induction.repeat_loss(model, min(n_sequences, 20), seed, progress=progress.advance),)

    def random(progress: Progress) -> tuple[HeadScores, ...]:
        return _maps(
            induction.score_heads(
                randomised(model, seed), few, seed, prefix_definition=prefix_definition, progress=progress.advance
            )
        )

    def both(n: int, *, copy: bool = False) -> Work:
        return lambda: score_heads_work(model, n, prefix_definition, copy=copy)

    units = [
        Unit(
            "prefix matching and copying",
            _named("induction"),
            asked,
            2 * n_sequences,
            scores,
            work=both(n_sequences),
        ),
        Unit(
            "loss by repeat",
            ("induction/repeat_loss",),
            {"seed": seed},
            min(n_sequences, 20),
            loss,
            work=lambda: repeat_loss_work(model, min(n_sequences, 20)),
        ),
        *(attention_unit(model, prompt, seed) for prompt in prompts.PROMPTS),
    ]
    if control and model.in_memory:
        fewer = asked | {"n_sequences": few}
        units.append(
            Unit("the same with random weights", _named("control"), fewer, 2 * few, random, work=both(few, copy=True))
        )
    return units


def attention_unit(model: Model, prompt: str, seed: int) -> Unit:
    """What every head attends to on a prompt; prompts need a tokenizer."""
    definition, _ = prompts.PROMPTS[prompt]
    asked = {"prompt": prompt, "seed": seed}

    def measure(progress: Progress) -> tuple[Patterns]:
        if model.tokenizer is None:
            raise ImpossibleError(f"{model.name} has no tokenizer to write the prompt with")
        tokens = prompts.prompt(model, prompt, seed)
        try:
            found = induction.record_patterns(model, tokens, definition, **asked)
        except InputError as error:  # NaN, which 256 levels have no place for
            raise ImpossibleError(str(error)) from error
        progress.advance(1)
        return (found,)

    title = f"attention of every head, {prompt}"

    return Unit(title, (f"attention/{prompt}",), asked, 1, measure, work=lambda: patterns_work(model, prompt, seed))


def load_settings(
    names: Iterable[str],
    shots: Iterable[int],
    limit: int | None,
    data: str | None,
    profile: Profile,
    seed: int,
    splits: Sequence[str] = ("scored", "train"),
) -> list[TaskSetup]:
    """Every task at every number of shots; what is wrong with them is found here, before a model is loaded.

    Args:
        names: The tasks.
        shots: Numbers of shots.
        limit: Documents or examples at most.
        data: Where their rows come from.
        profile: How they are prompted.
        seed: Seed of the shots.
        splits: Which rows are needed: those that are scored, those that examples come from.

    Raises:
        InputError: A task is unknown, or its rows cannot be had or are too few.
    """
    if data is not None and data != HUB:  # also for word lists, which need no rows: whoever names a folder means it
        check_folder(Path(data))
    names = list(names)
    tasks = {name: importance.load_task(name, profile, data) for name in dict.fromkeys(names)}
    found = [TaskSetup(tasks[name], count, limit, seed) for name, count in product(names, shots)]
    for setting, split in product({setting.name: setting for setting in found}.values(), splits):
        setting.task.examples(setting.shots, 1, split, seed)
    return found


def accuracy_unit(model: Model, setting: TaskSetup) -> Unit:
    """Accuracy of the whole model: without it nobody can say what importance on the task is worth."""

    def measure(progress: Progress) -> tuple[Accuracy]:
        task, shots, limit = setting.task, setting.shots, setting.limit
        found = importance.accuracy(model, task, shots, limit, seed=setting.seed, progress=progress.advance)
        _say_cut(setting, found.cut, len(found.gold_log_p), "documents")
        return (found,)

    name = f"accuracy/{setting.name}"
    return Unit(
        f"accuracy, {setting.name}",
        (name,),
        setting.asked,
        setting.documents,
        measure,
        work=lambda: accuracy_work(model, setting),
        group=setting.name,
    )


def head_unit(model: Model, setting: TaskSetup, method: str, reduction: str) -> Unit:
    """Importance of every head for a task."""
    folder = "heads" if method == "gradient" else "heads-oracle"
    asked = setting.asked | {"method": method} | ({"reduction": reduction} if method == "gradient" else {})

    def measure(progress: Progress) -> tuple[HeadScores]:
        task = setting.task
        examples = task.examples(setting.shots, setting.limit, seed=setting.seed)
        found = importance.head_importance(
            model, examples, method, reduction, encoding=task.encoding, progress=progress.advance
        )
        _say_cut(setting, found.provenance["cut"], found.n, "examples")
        return (replace(found, provenance=found.provenance | setting.stated),)

    name = f"importance/{folder}/{setting.name}"
    return Unit(
        f"heads, {setting.name}",
        (name,),
        asked,
        setting.examples,
        measure,
        work=lambda: head_importance_work(model, setting, method),
        group=setting.name,
    )


def ffn_unit(model: Model, setting: TaskSetup, rank_split: RankSplit = None) -> Unit:
    """Importance of every feed-forward network for a task."""

    def measure(progress: Progress) -> tuple[LayerScores]:
        task, shots, limit, seed = setting.task, setting.shots, setting.limit, setting.seed
        return (
            importance.ffn_importance(
                model, task, shots, limit, rank_split=rank_split, seed=seed, progress=progress.advance
            ),
        )

    name = f"importance/ffns/{setting.name}"
    asked = setting.asked | {"rank_split": rank_split}
    documents = setting.examples if rank_split else setting.documents
    return Unit(
        f"FFNs, {setting.name}",
        (name,),
        asked,
        documents,
        measure,
        work=lambda: ffn_importance_work(model, setting, rank_split),
        group=setting.name,
    )


def _say_cut(setting: TaskSetup, cut: int, n: int, what: str) -> None:
    if cut:
        say(f"{setting.name}: {cut} of {n} {what} are longer than the model's context and were cut from the left")


def aggregate_units(run: Run) -> list[Unit]:
    """Means over tasks, for every kind of importance and number of shots that a run has two or more tasks of."""
    groups: dict[tuple[str, int], list[str]] = {}
    for found in map(_IMPORTANCE.fullmatch, run.names):
        if found and found["task"] not in AGGREGATES:
            groups.setdefault((found["kind"], int(found["shots"])), []).append(found["task"])
    return [aggregate_unit(run, kind, shots, tasks) for (kind, shots), tasks in groups.items() if len(tasks) > 1]


AGGREGATES: tuple[Literal["mean", "rank-mean"], ...] = ("mean", "rank-mean")
_IMPORTANCE = re.compile(r"importance/(?P<kind>[\w-]+)/(?P<task>.+)\.(?P<shots>\d+)shot")


def aggregate_unit(run: Run, kind: str, shots: int, tasks: Sequence[str]) -> Unit:
    """The means over some tasks of one kind of importance, such as `heads`."""
    needs = {task: f"importance/{kind}/{task}.{shots}shot" for task in tasks}

    def measure(progress: Progress) -> tuple[HeadScores | LayerScores, ...]:
        scores = {task: scores_of(run, name) for task, name in needs.items()}
        return tuple(compare.aggregate(scores, how) for how in AGGREGATES)

    names = tuple(f"importance/{kind}/{how}.{shots}shot" for how in AGGREGATES)
    return Unit(f"means over tasks, {shots} shots", names, {}, 0, measure, tuple(needs.values()))


def scores_of(run: Run, name: str) -> HeadScores | LayerScores:
    """Scores that a unit needs.

    Raises:
        InputError: The result of that name is something else.
    """
    scores = run[name]
    if not isinstance(scores, HeadScores | LayerScores):
        raise InputError(f"{name} in {run.folder}: expected scores, got {type(scores).__name__}; measure again")
    return scores


def _named(folder: str) -> tuple[str, ...]:
    return tuple(f"{folder}/{name}" for name in ("prefix_matching", "copying", "copying_published"))


def _maps(scores: InductionScores) -> tuple[HeadScores, ...]:
    return scores.prefix_matching, scores.copying, scores.copying_published
