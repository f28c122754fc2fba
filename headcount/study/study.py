"""A study: everything that is measured on one model, as units in an order that gives a first report early."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from headcount.importance.pruning.sweep import Component, n_parts
from headcount.importance.tasks.setup import TaskSetup
from headcount.results import InputError, Run
from headcount.stats import compare
from headcount.study.analyses import INDUCTION, Analyses
from headcount.study.claims import claims_unit
from headcount.study.config import Study, Tasks
from headcount.study.measure import accuracy_unit, aggregate_unit, ffn_unit, head_unit, induction_units, load_settings
from headcount.study.removals import Removals
from headcount.study.units import Unit
from headcount.tracing import Model

COMPONENTS: tuple[Component, ...] = ("heads", "ffns")


@dataclass(frozen=True)
class Asked:
    """A setting, and the part of the configuration that asks for it."""

    setting: TaskSetup
    group: Tasks


def asked_settings(config: Study) -> list[Asked]:
    """Every task at every number of shots; whatever is wrong with them is found before a model is loaded.

    Raises:
        InputError: A task is unknown, its rows cannot be had or are too few, or one setting is asked for twice.
    """
    found = [
        Asked(setting, group)
        for group in config.tasks
        for setting in load_settings(
            group.names, group.shots, group.limit, group.data or config.data, config.profile, config.seed
        )
    ]
    check_once(found)
    return found


def check_once(settings: Sequence[Asked]) -> None:
    """Refuse to ask one thing twice: its results would have one name.

    Raises:
        InputError: A task is there twice with one number of shots.
    """
    names = [asked.setting.name for asked in settings]
    for name, times in Counter(names).items():
        if times > 1:
            raise InputError(f"{name} is asked for twice: name every task once for each number of shots")


def study_units(model: Model, run: Run, config: Study, settings: Sequence[Asked]) -> list[Unit]:
    """Everything that a study measures, in order: what a first report needs comes first."""
    all_settings = [asked.setting for asked in settings]
    units = [
        *induction_units(
            model, config.sequences, config.seed, control=config.control, prefix_definition=config.prefix_definition
        ),
        *(unit for setting in all_settings for unit in _of_heads(model, setting, config)),
        *_means(run, "heads", settings),
        *(ffn_unit(model, setting, config.rank_split) for setting in all_settings),
        *_means(run, "ffns", settings),
        *_compared(Analyses(run, config.top, config.seed, model.sizes.n_layers), settings),
        *_removed(Removals(model, run, config), config, settings),
    ]
    unseen = [asked.setting.task.name for asked in settings if asked.group.unseen]
    measured = [name for unit in units for name in unit.names if not name.startswith(("control/", "attention/"))]
    return [*units, claims_unit(run, _by_shots(settings), unseen, measured)]


def _of_heads(model: Model, setting: TaskSetup, config: Study) -> tuple[Unit, Unit]:
    examples = replace(setting, limit=config.examples)
    return accuracy_unit(model, setting), head_unit(model, examples, "gradient", config.reduction)


def _means(run: Run, component: str, settings: Sequence[Asked]) -> list[Unit]:
    return [aggregate_unit(run, component, shots, tasks) for shots, tasks in _seen(settings).items() if len(tasks) > 1]


def _by_shots(settings: Iterable[Asked]) -> dict[int, list[str]]:
    """The tasks by number of shots."""
    found: dict[int, list[str]] = {}
    for asked in settings:
        found.setdefault(asked.setting.shots, []).append(asked.setting.task.name)
    return found


def _seen(settings: Sequence[Asked]) -> dict[int, list[str]]:
    """The tasks that the means are over, by number of shots."""
    return _by_shots(asked for asked in settings if not asked.group.unseen)


def _compared(analyses: Analyses, settings: Sequence[Asked]) -> list[Unit]:
    seen = _seen(settings)
    by_task: dict[str, list[int]] = {}
    for asked in settings:
        by_task.setdefault(asked.setting.task.name, []).append(asked.setting.shots)
    units = []
    for shots, tasks in _by_shots(settings).items():
        units += analyses.of_shots(shots, [*tasks, *(["mean"] if len(seen.get(shots, [])) > 1 else [])])
    names = [f"importance/{kind}/{asked.setting.name}" for kind in COMPONENTS for asked in settings]
    return [
        *units,
        *analyses.across_shots(by_task),
        analyses.layers([*(f"induction/{one}" for one in INDUCTION), *names]),
    ]


def _removed(removals: Removals, config: Study, settings: Sequence[Asked]) -> list[Unit]:
    """Curves and grids: first each task by its own ranking, then the control, then all else."""
    pruned = [asked for asked in settings if asked.group.prune]
    seen = _seen(settings)

    def each(wanted: Callable[[Asked], bool], make: Callable[[TaskSetup, Any], Unit]) -> list[Unit]:
        return [make(a.setting, component) for a in pruned if wanted(a) for component in COMPONENTS]

    units = []
    if "own" in config.rankings:
        units += each(lambda a: True, lambda s, c: removals.ranked(s, c, "own", ()))
    units += each(lambda a: a.group.random, removals.random)
    units += [removals.grid(asked.setting) for asked in pruned if asked.group.grid]
    for ranking in (ranking for ranking in config.rankings if ranking != "own"):
        for asked, component in product(pruned, COMPONENTS):
            others = [task for task in seen.get(asked.setting.shots, []) if task != asked.setting.task.name]
            # A mean is over two tasks or more; most and least correlated differ among two others or more.
            enough = len(others) > 1 and n_parts(removals.model.sizes, component) >= compare.FEWEST
            if enough or (ranking == "mean" and len(seen.get(asked.setting.shots, [])) > 1):
                units.append(removals.ranked(asked.setting, component, ranking, others))
    units += each(lambda a: a.group.recomputed, removals.recomputed)
    return units
