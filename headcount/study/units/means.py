"""Units of means over tasks: one importance of several tasks."""

from collections.abc import Sequence

from headcount.progress import Progress
from headcount.results import ExpertScores, HeadScores, InputError, LayerScores, ResultName, Run, Setting
from headcount.results.internal import MEANS
from headcount.stats import compare
from headcount.study.unit import ImpossibleError, Unit


def mean_units(run: Run) -> list[Unit]:
    """Return the units of means, for every kind of importance and number of shots with two or more tasks in a run."""
    groups: dict[tuple[str, int], list[str]] = {}
    for name in filter(None, map(ResultName.parse, run.names)):
        folder, _, part = name.folder.partition("/")
        if folder == "importance" and name.setting is not None and not name.setting.is_mean:
            groups.setdefault((part, name.setting.shots), []).append(name.setting.task)
    return [mean_unit(run, part, shots, tasks) for (part, shots), tasks in groups.items() if len(tasks) > 1]


def mean_unit(run: Run, part: str, shots: int, tasks: Sequence[str]) -> Unit:
    """Return the unit of the means over some tasks of the importance of a part, such as `heads`."""
    needs = {task: str(ResultName.importance(part, Setting(task, shots))) for task in tasks}

    def measure(progress: Progress) -> tuple[HeadScores | LayerScores | ExpertScores, ...]:
        scores = {task: scores_of(run, name) for task, name in needs.items()}
        if len(definitions := sorted({of_task.definition for of_task in scores.values()})) > 1:
            raise ImpossibleError(
                f"it is over importance of one definition, and the tasks have {' and '.join(definitions)}: measure "
                "them alike, with --reduction or with --replace"
            )
        return tuple(compare.aggregate(scores, mean) for mean in MEANS)  # type: ignore[arg-type]

    names = tuple(str(ResultName.importance(part, Setting(mean, shots))) for mean in MEANS)
    # Means of earlier versions lack what orders equal ones; they are taken again.
    settings = {"ties": "log_p"} if part.startswith("ffns") else {}
    return Unit(f"means over tasks, {shots} shots", names, settings, 0, measure, tuple(needs.values()))


def scores_of(run: Run, name: str) -> HeadScores | LayerScores | ExpertScores:
    """Return the scores of a run that a unit needs.

    Raises:
        InputError: The result of that name is of another kind.
    """
    scores = run[name]
    if not isinstance(scores, HeadScores | LayerScores | ExpertScores):
        raise InputError(f"{name} in {run.folder}: expected scores, got {type(scores).__name__}; measure again")
    return scores
