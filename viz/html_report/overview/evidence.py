"""The tasks that carry most evidence: those furthest above chance, on which figures open."""

import re
from collections.abc import Iterable, Mapping
from math import inf, isnan

from headcount.results import Accuracy, HeadScores, PruningCurve, ResultName, Setting
from headcount.viz.contents import Contents
from headcount.viz.html_report.sections.importance import tasks_of
from headcount.viz.html_report.views import Section


def margin(measured: Accuracy | PruningCurve | None) -> float:
    """Return how far the whole model's accuracy is above chance and the most frequent answer; -inf if unknown."""
    if measured is None:
        return -inf
    value = measured.value if isinstance(measured, Accuracy) else float(measured.value[0])
    return value - max(guess for guess in (measured.chance, measured.majority, -inf) if not isnan(guess))


def furthest_above_chance(accuracy: Mapping[Setting, Accuracy], settings: Iterable[Setting]) -> Setting | None:
    """Return the setting with the largest margin above chance, the first of equal ones; None if there is none."""
    return max(settings, key=lambda setting: margin(accuracy.get(setting)), default=None)


def opening_importance(contents: Contents, settings: Iterable[Setting]) -> Setting | None:
    """Return the setting on which a map of importance opens.

    It is the mean over the tasks of which the largest share is above chance, with more shots if shares are equal; of a
    run without means the task furthest above chance.
    """
    listed = list(settings)
    means = [setting for setting in listed if setting.task == "mean"]
    if not means:
        return furthest_above_chance(contents.accuracy, listed)
    return max(means, key=lambda mean: (_share_above_chance(contents, mean), mean.shots))


def removal_of_heads(contents: Contents) -> tuple[Setting, HeadScores] | None:
    """Return the importance of all heads by removal, of the task furthest above chance; None if none was measured."""
    names = [ResultName.parse(name) for name in contents.results]
    removed = {name.setting: str(name) for name in names if name and name.folder == "importance/heads-oracle"}
    setting = opening_importance(contents, [setting for setting in removed if setting is not None])
    scores = contents.results[removed[setting]] if setting is not None else None
    return (setting, scores) if setting is not None and isinstance(scores, HeadScores) else None


def _share_above_chance(contents: Contents, mean: Setting) -> float:
    scores = contents.heads.get(mean) or contents.ffns.get(mean)
    tasks = [] if scores is None else tasks_of(scores)
    measured = [contents.accuracy.get(Setting(task, mean.shots)) for task in tasks]
    above = [accuracy is not None and accuracy.beats_guessing for accuracy in measured]
    return sum(above) / max(1, len(above))


def opening_view(section: Section, accuracy: Mapping[Setting, Accuracy]) -> int:
    """Return the index of the view on the task furthest above chance; 0 where no view's title has a measured task."""
    for setting in sorted(accuracy, key=lambda setting: -margin(accuracy[setting])):
        title = re.compile(rf"(?:^|\s){re.escape(setting.title)}(?:$|\W)")
        for index, view in enumerate(section.views):
            if title.search(view.title):
                return index
    return 0
