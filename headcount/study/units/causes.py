"""Units on causes: sets of heads removed beside random ones, and verdicts on single heads."""

from collections.abc import Mapping, Sequence
from typing import Any

from headcount import importance
from headcount.importance.internal import TaskSetup
from headcount.progress import Progress
from headcount.results import HeadScores, InputError, ResultName, Run, SetEffects, Setting, Table
from headcount.study.unit import ImpossibleError, Unit
from headcount.study.units.means import scores_of
from headcount.tracing import Model

KINDS = ("induction", "importance")
"""The kinds of heads that can be removed as sets."""

VERDICT_PERCENT = 5.0
"""The share of heads of each kind that verdicts are on."""


def name_of_kind(kind: str, setting: Setting) -> ResultName:
    """Return the name of the scores that say which heads are of a kind."""
    return ResultName.induction("prefix_matching") if kind == "induction" else ResultName.importance("heads", setting)


def set_effects_unit(
    model: Model, run: Run, setup: TaskSetup, kinds: Sequence[str], percents: Sequence[float], seeds: Sequence[int]
) -> Unit:
    """Return the unit of a task's answers without the highest heads of each kind, beside random sets.

    Args:
        model: The whole model.
        run: The run that holds the scores of the kinds.
        setup: The task.
        kinds: Some of `KINDS`.
        percents: The shares of heads that count as the highest.
        seeds: Seeds of the random sets.
    """
    names = {kind: str(name_of_kind(kind, setup.setting)) for kind in kinds}

    def measure(progress: Progress) -> tuple[SetEffects]:
        options: dict[str, Any] = {
            "shots": setup.shots,
            "limit": setup.limit,
            "seed": setup.seed,
            "progress": progress.advance,
        }
        scores = _scores(run, names)
        return (importance.set_effects(model, setup.task, scores, percents, random_seeds=tuple(seeds), **options),)

    return Unit(
        f"without heads of each kind, {setup.name}",
        (str(ResultName.causes("zero", setup.setting)),),
        setup.identity | {"percents": list(map(float, percents)), "random_seeds": list(seeds)},
        setup.documents * (1 + 2 * len(kinds) * len(percents) * (1 + len(seeds))),
        measure,
        tuple(names.values()),
        group=setup.name,
    )


def verdicts_unit(model: Model, run: Run, setup: TaskSetup, kinds: Sequence[str]) -> Unit:
    """Return the unit of the verdicts on the highest heads of each kind; arguments as of `set_effects_unit`."""
    names = {kind: str(name_of_kind(kind, setup.setting)) for kind in kinds}

    def measure(progress: Progress) -> tuple[Table]:
        options: dict[str, Any] = {
            "shots": setup.shots,
            "limit": setup.limit,
            "seed": setup.seed,
            "progress": progress.advance,
        }
        try:
            return (importance.head_verdicts(model, setup.task, _scores(run, names), VERDICT_PERCENT, **options),)
        except InputError as error:  # a single document tells nothing
            raise ImpossibleError(str(error)) from error

    return Unit(
        f"verdicts on heads, {setup.name}",
        (str(ResultName.verdicts("zero", setup.setting)),),
        setup.identity | {"percent": VERDICT_PERCENT},
        setup.documents,
        measure,
        tuple(names.values()),
        group=setup.name,
    )


def _scores(run: Run, names: Mapping[str, str]) -> dict[str, HeadScores]:
    """Return the scores of each kind.

    Raises:
        InputError: One of them is no score of heads.
    """
    scores = {kind: scores_of(run, name) for kind, name in names.items()}
    if wrong := [names[kind] for kind, values in scores.items() if not isinstance(values, HeadScores)]:
        raise InputError(f"{wrong[0]} in {run.folder}: expected scores of heads; measure again")
    return {kind: values for kind, values in scores.items() if isinstance(values, HeadScores)}
