"""The units of a study: everything that is measured on one model, in an order that gives a first report early."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

from headcount.importance.internal import EXAMPLES, Component, TaskSetup, n_parts
from headcount.induction.internal import ATLAS_SEQUENCES, read_texts
from headcount.results import InputError, ResultName, Run
from headcount.results.internal import SCORES, ablated_part
from headcount.stats import compare
from headcount.study.claims.claims import claims_unit
from headcount.study.config import RANKINGS, StudyConfig, TaskGroup
from headcount.study.unit import Unit
from headcount.study.units.analyses import AnalysisUnits
from headcount.study.units.atlas import atlas_unit
from headcount.study.units.causes import causes_units
from headcount.study.units.induction import induction_units
from headcount.study.units.means import mean_unit
from headcount.study.units.pruning import PruningUnits
from headcount.study.units.rankings import PUBLISHED, rank_units
from headcount.study.units.tasks import accuracy_unit, expert_unit, ffn_unit, head_unit, load_setups
from headcount.tracing import Model
from headcount.tracing.internal import AblationKind

COMPONENTS: tuple[Component, ...] = ("heads", "ffns")
"""The parts that every study is about."""


@dataclass(frozen=True)
class StudyTask:
    """A task at a number of shots, and the group of the configuration that it belongs to.

    Attributes:
        setup: The task with its shots.
        group: The options of its group.
    """

    setup: TaskSetup
    group: TaskGroup


def load_tasks(config: StudyConfig) -> list[StudyTask]:
    """Load every task of a study at every number of shots; errors in them are found before a model is loaded.

    Raises:
        InputError: A task is unknown, its rows are missing or too few, or it comes twice with one number of shots.
    """
    tasks = [
        StudyTask(setup, group)
        for group in config.tasks
        for setup in load_setups(
            group.names,
            group.shots,
            group.limit,
            group.data or config.data,
            config.profile,
            config.seed,
            keep_bos=config.keep_bos,
        )
    ]
    check_distinct(tasks)
    return tasks


def check_distinct(tasks: Sequence[StudyTask]) -> None:
    """Refuse a task that comes twice with one number of shots: its results would have one name.

    Raises:
        InputError: There is such a task.
    """
    for name, times in Counter(task.setup.name for task in tasks).items():
        if times > 1:
            raise InputError(f"{name} is requested twice: name every task once for each number of shots")


def study_units(model: Model, run: Run, config: StudyConfig, tasks: Sequence[StudyTask]) -> list[Unit]:
    """Return everything that a study measures, in order: the units of a first report come first.

    Raises:
        InputError: It is to be about parts that the model does not have, such as experts, or wants gates on a streamed
            model.
    """
    for component in _components(config):
        n_parts(model, component)
    units = [
        *induction_units(
            model, config.sequences, config.seed, control=config.control, prefix_definition=config.prefix_definition
        ),
        *_atlas_units(model, config),
        *_importance_units(model, run, config, tasks),
        *_analysis_units(AnalysisUnits(run, config.top, config.seed, model.sizes.n_layers), tasks),
        *_pruning_units(PruningUnits(model, run), config, tasks),
        *(unit for kind in config.ablations for unit in _pruning_units(PruningUnits(model, run, kind), config, tasks)),
    ]
    units += _cause_units(model, run, config, tasks, units)
    unseen = [task.setup.task.name for task in tasks if task.group.unseen]
    names = [name for unit in units for name in unit.names if not name.startswith(("control/", "attention/", "atlas/"))]
    return [*units, claims_unit(run, _by_shots(tasks), unseen, names)]


def _atlas_units(model: Model, config: StudyConfig) -> list[Unit]:
    texts = read_texts(config.atlas_text) if config.atlas else None
    return [] if texts is None else [atlas_unit(model, ATLAS_SEQUENCES, config.seed, texts, control=config.control)]


def _importance_units(model: Model, run: Run, config: StudyConfig, tasks: Sequence[StudyTask]) -> list[Unit]:
    """Accuracy and importance of heads, then of feed-forward networks; each with its means."""
    units = []
    for setup in (task.setup for task in tasks):
        examples = replace(setup, limit=config.examples)
        units += [accuracy_unit(model, setup), head_unit(model, examples, "gradient", config.reduction)]
    units += _mean_units(run, "heads", tasks)
    kinds: list[AblationKind] = ["zero", *config.ablations]
    for kind in kinds:
        units += [ffn_unit(model, task.setup, config.rank_split, kind) for task in tasks]
        units += _mean_units(run, ablated_part("ffns", kind), tasks)
    if config.experts:
        examples_of = [replace(task.setup, limit=config.examples) for task in tasks]
        units += [expert_unit(model, examples, "gradient", "example") for examples in examples_of]
        units += _mean_units(run, "experts", tasks)
    return units


def _components(config: StudyConfig) -> list[Component]:
    """Return the kinds of parts that a study prunes."""
    further: list[tuple[Component, bool]] = [("kv_groups", config.kv_groups), ("experts", config.experts)]
    return [*COMPONENTS, *(component for component, wanted in further if wanted)]


def _mean_units(run: Run, component: str, tasks: Sequence[StudyTask]) -> list[Unit]:
    return [mean_unit(run, component, shots, names) for shots, names in _seen(tasks).items() if len(names) > 1]


def _by_shots(tasks: Iterable[StudyTask]) -> dict[int, list[str]]:
    """The names of the tasks by number of shots."""
    names: dict[int, list[str]] = {}
    for task in tasks:
        names.setdefault(task.setup.shots, []).append(task.setup.task.name)
    return names


def _seen(tasks: Iterable[StudyTask]) -> dict[int, list[str]]:
    """The names of the tasks that the means are over, by number of shots."""
    return _by_shots(task for task in tasks if not task.group.unseen)


def _analysis_units(analyses: AnalysisUnits, tasks: Sequence[StudyTask]) -> list[Unit]:
    """Comparisons of all scores at each number of shots, across shots, and by layer."""
    seen = _seen(tasks)
    units = []
    for shots, names in _by_shots(tasks).items():
        units += analyses.of_shots(shots, [*names, *(["mean"] if len(seen.get(shots, [])) > 1 else [])])
    by_task: dict[str, list[int]] = {}
    for task in tasks:
        by_task.setdefault(task.setup.task.name, []).append(task.setup.shots)
    scores = [ResultName.induction(score) for score in SCORES]
    scores += [ResultName.importance(part, task.setup.setting) for part in COMPONENTS for task in tasks]
    return [*units, *analyses.across_shots(by_task), analyses.layers(scores)]


def _pruning_units(pruning: PruningUnits, config: StudyConfig, tasks: Sequence[StudyTask]) -> list[Unit]:
    """Curves and grids: first each task by its own ranking, then the control, then all else."""
    pruned = [task for task in tasks if task.group.prune]
    components = [part for part in _components(config) if part != "experts" or pruning.ablation == "zero"]
    pairs = [(task, component) for task in pruned for component in components]
    units = []
    if "own" in config.rankings:
        units += [pruning.ranked(task.setup, part, "own", _percents(config, part)) for task, part in pairs]
    units += [
        pruning.random(task.setup, part, config.random_percents, config.random_seeds)
        for task, part in pairs
        if task.group.random
    ]
    units += [
        pruning.grid(task.setup, config.grid_head_percents, config.grid_ffn_percents)
        for task in pruned
        if task.group.grid
    ]
    units += _by_other_rankings(pruning, config, pairs, _seen(tasks))
    units += [
        pruning.recomputed(
            task.setup, part, _percents(config, part), same_as_own=_ranked_alike(config, task.setup, part)
        )
        for task, part in pairs
        if task.group.recomputed
    ]
    return units


def _by_other_rankings(
    pruning: PruningUnits,
    config: StudyConfig,
    pairs: Sequence[tuple[StudyTask, Component]],
    seen: Mapping[int, Sequence[str]],
) -> list[Unit]:
    """Curves along the mean over tasks, and along the most and least correlated tasks."""
    units = []
    for ranking, (task, part) in product((ranking for ranking in config.rankings if ranking != "own"), pairs):
        names = seen.get(task.setup.shots, [])
        candidates = [name for name in names if name != task.setup.task.name]
        # A mean is over two tasks or more; most and least correlated differ among two candidates or more.
        distinct = len(candidates) > 1 and n_parts(pruning.model, part) >= compare.FEWEST
        if distinct or (ranking == "mean" and len(names) > 1):
            percents = _percents(config, part) if config.cross_percents is None else config.cross_percents
            units.append(pruning.ranked(task.setup, part, ranking, percents, candidates))
    return units


def _cause_units(
    model: Model, run: Run, config: StudyConfig, tasks: Sequence[StudyTask], before: Sequence[Unit]
) -> list[Unit]:
    """Sets of heads and verdicts, then rankings; on scores that the study has for other reasons where it has them."""
    needs_gates = "gates" in config.cause_kinds or {"gates", "gates-other"} & set(config.compared_rankings)
    if model.stream is not None and needs_gates and any(task.group.causes or task.group.rank for task in tasks):
        raise InputError("gates need a model in memory: leave gates out of cause_kinds and compared_rankings")
    known = {name for unit in before for name in unit.names}
    causes = [task.setup for task in tasks if task.group.causes]
    sets = (config.cause_kinds, config.cause_percents, config.cause_seeds)
    units = causes_units(model, run, causes, config.cause_ablations, *sets, known)
    known |= {name for unit in units for name in unit.names}
    ranked = [task.setup for task in tasks if task.group.rank]
    rankings = [name for name in RANKINGS if name in (PUBLISHED, *config.compared_rankings)]
    return units + rank_units(model, run, ranked, config.cause_ablations, rankings, known)


def _percents(config: StudyConfig, component: Component) -> list[float]:
    percents = {"ffns": config.ffn_percents, "experts": config.expert_percents}
    return percents.get(component, config.head_percents)


def _ranked_alike(config: StudyConfig, setup: TaskSetup, component: Component) -> bool:
    """True if a ranking that is measured again, on the whole model, is the task's own."""
    if component == "ffns":
        return config.rank_split is None
    n_again, n_before = (replace(setup, limit=limit).examples for limit in (EXAMPLES, config.examples))
    return (component == "experts" or config.reduction == "example") and n_again == n_before
