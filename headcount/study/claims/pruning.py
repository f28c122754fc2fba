"""Evaluations of claims about pruning.

A task on which the model is not better than chance or a constant answer, by two standard errors, gives no verdict.
"""

from collections.abc import Callable
from statistics import fmean

import torch
from torch import Tensor

from headcount.results import PruningCurve, PruningGrid, ResultName
from headcount.results.internal import with_error
from headcount.study.claims.results import StudyResults
from headcount.study.claims.verdict import (
    TOLERANCE,
    Evaluation,
    above,
    at_most,
    error_of_mean,
    listed,
    spread_of_mean,
    undecided,
)


def removable(component: str, percent: float) -> Callable[[StudyResults], Evaluation]:
    """Return the evaluation of pruning a percentage along a task's own ranking: a minimal decline of mean accuracy."""

    def evaluate(study: StudyResults) -> Evaluation:
        curves = study.curves(component, "own")
        steps = {name: curve.percents.index(percent) for name, curve in curves.items() if percent in curve.percents}
        if not steps:
            return undecided(f"no task that the model can do was pruned to {percent:g} %")
        drop = fmean(float(curves[setting].drop[step]) for setting, step in steps.items())
        error = error_of_mean(float(curves[setting].drop_stderr[step]) for setting, step in steps.items())
        evidence = (
            f"accuracy falls by {with_error(drop, error)} in the mean over {len(steps)} settings ({listed(steps)})"
        )
        return Evaluation(at_most(drop, error, TOLERANCE), evidence)

    return evaluate


def better_than_random(component: str) -> Callable[[StudyResults], Evaluation]:
    """Return the evaluation of pruning by importance: a smaller decline than that of as many parts at random."""

    def evaluate(study: StudyResults) -> Evaluation:
        ranked_curves, random_curves = study.curves(component, "own"), study.curves(component, "random")
        gains, errors, settings = [], [], set()
        for setting in ranked_curves.keys() & random_curves.keys():
            for difference in _differences(ranked_curves[setting], random_curves[setting]):
                gains.append(float(difference.mean()))
                errors.append(float(difference.std() / len(difference) ** 0.5))
                settings.add(setting)
        if not gains:
            return undecided("no task that the model can do has both curves")
        # The same documents are behind every percent: their errors do not shrink by averaging over percents.
        gain, error = fmean(gains), fmean(errors) / len(settings) ** 0.5
        evidence = (
            f"accuracy is higher by {with_error(gain, error)} than after random removal, in the mean over "
            f"{len(settings)} settings ({listed(settings)}) and their percents"
        )
        return Evaluation(above(gain, error, 0.0), evidence)

    return evaluate


def combined(study: StudyResults) -> Evaluation:
    """Evaluate pruning 20 % of FFNs and 70 % of heads together: a minimal decline of accuracy."""
    grids = {setting: study.get(ResultName.grid(setting)) for setting in study.solved()}
    grids = {setting: grid for setting, grid in grids.items() if isinstance(grid, PruningGrid)}
    places = {
        setting: (grid.ffn_percents.index(20.0), grid.head_percents.index(70.0))
        for setting, grid in grids.items()
        if 20.0 in grid.ffn_percents and 70.0 in grid.head_percents
    }
    if not places:
        return undecided("no grid of a task that the model can do")
    drop = fmean(float(grids[setting].drop[place]) for setting, place in places.items())
    error = error_of_mean(float(grids[setting].drop_stderr[place]) for setting, place in places.items())
    evidence = (
        f"with 20 % of FFNs and 70 % of heads gone, accuracy falls by {with_error(drop, error)} in the mean over "
        f"{listed(places)}"
    )
    return Evaluation(at_most(drop, error, TOLERANCE), evidence)


def ffn_tolerance(study: StudyResults) -> Evaluation:
    """Evaluate pruning FFNs at 0 shots: a smaller decline than with shots."""
    drops: dict[bool, list[float]] = {True: [], False: []}
    for setting, curve in study.curves("ffns", "own").items():
        drops[setting.shots == 0].append(fmean(curve.drop[1:].tolist()))
    if not drops[True] or not drops[False]:
        return undecided("needs tasks that the model can do at 0 shots and with shots")
    zero, few = fmean(drops[True]), fmean(drops[False])
    error = (spread_of_mean(drops[True]) ** 2 + spread_of_mean(drops[False]) ** 2) ** 0.5
    evidence = (
        f"the mean drop over all steps is {zero:.3f} at 0 shots ({len(drops[True])} settings) and {few:.3f} with shots "
        f"({len(drops[False])})"
    )
    return Evaluation(above(few - zero, error, 0.0), evidence)


def unseen(study: StudyResults) -> Evaluation:
    """Evaluate the mean ranking on tasks that it does not contain: as good as a task's own ranking."""
    own_curves, mean_curves = study.curves("heads", "own"), study.curves("heads", "mean")
    losses, errors = [], []
    for setting in own_curves.keys() & mean_curves.keys():
        differences = _differences(own_curves[setting], mean_curves[setting])
        if setting.task in study.unseen and differences:
            # By document first: the same ones are behind every step.
            difference = torch.stack(differences).mean(0)
            losses.append(float(difference.mean()))
            errors.append(float(difference.std() / len(difference) ** 0.5))
    if not losses:
        return undecided("no unseen task that the model can do was pruned by both rankings at the same steps")
    loss, error = fmean(losses), error_of_mean(errors)
    evidence = (
        f"by the mean ranking accuracy is lower by {with_error(loss, error)} than by the task's own, in the mean over "
        "steps"
    )
    return Evaluation(at_most(loss, error, TOLERANCE), evidence)


def _differences(first: PruningCurve, second: PruningCurve) -> list[Tensor]:
    """For each step that two curves share, the difference of every document's rate of right answers."""
    common = sorted(set(first.percents) & set(second.percents) - {0.0})
    rates = ([curve.correct[:, curve.percents.index(at)].mean(0) for at in common] for curve in (first, second))
    return [a - b for a, b in zip(*rates, strict=True)]
