"""Units on causes: sets of heads removed beside random ones, and verdicts on single heads."""

from collections.abc import Container, Mapping, Sequence
from dataclasses import replace
from itertools import product
from math import floor
from typing import Any

import torch

from headcount import importance
from headcount.importance.internal import TaskSetup, document_items, example_items, n_parts, with_ablation
from headcount.progress import Progress
from headcount.results import HeadScores, InputError, ResultName, Run, SetEffects, Setting, Table
from headcount.study.unit import ImpossibleError, Unit
from headcount.study.units.heads import function_vector_unit, gates_unit
from headcount.study.units.induction import scores_unit
from headcount.study.units.means import mean_unit, scores_of
from headcount.study.units.tasks import head_unit
from headcount.tracing import Model
from headcount.tracing.internal import AblationKind, Kind, ModelPass

SEQUENCES = 100
"""Sequences of random tokens for the induction scores."""

VERDICT_PERCENT = 5.0
"""The share of heads of each kind that verdicts are on."""

LOWEST_PREFIX_MATCHING = 0.1
"""Prefix matching up to which a head is no induction head, however high it ranks; random weights stay near 0.01."""


def name_of_kind(kind: str, setting: Setting, n_tasks: int = 1) -> ResultName:
    """Return the name of the scores that say which heads are of a kind.

    Args:
        kind: One of `headcount.study.HEAD_KINDS`.
        setting: The task that is measured, and its shots.
        n_tasks: The number of tasks whose means are taken; the function-vector effect is the mean over several.
    """
    over_tasks = Setting("mean", setting.shots) if n_tasks > 1 else setting
    names = {
        "induction": ResultName.induction("prefix_matching"),
        "function_vector": ResultName.importance("function-vectors", over_tasks),
        "importance": ResultName.importance("heads", setting),
        "gates": ResultName.importance("gates-facilitating", setting, "mean"),
    }
    return names[kind]


def set_effects_unit(
    model: Model,
    run: Run,
    setup: TaskSetup,
    together: Sequence[TaskSetup],
    ablation: AblationKind,
    kinds: Sequence[str],
    percents: Sequence[float],
    seeds: Sequence[int],
) -> Unit:
    """Return the unit of a task's answers without the highest heads of each kind, beside random sets.

    Args:
        model: The whole model.
        run: The run that holds the scores of the kinds.
        setup: The task.
        together: The tasks whose prompts give means: a mean over a single task's prompts still says which task it is.
        ablation: The kind of ablation.
        kinds: Some of `headcount.study.HEAD_KINDS`.
        percents: The shares of heads that count as the highest.
        seeds: Seeds of the random sets.
    """
    names = {kind: str(name_of_kind(kind, setup.setting, len(together))) for kind in kinds}
    over = _means_over(together)

    def measure(progress: Progress) -> tuple[SetEffects]:
        options = _options(setup, together, ablation, progress)
        scores = _scores(run, names)
        effects = importance.set_effects(model, setup.task, scores, percents, random_seeds=tuple(seeds), **options)
        return (replace(effects, provenance=effects.provenance | over),)

    # Every set also without the other kinds' heads: as many at most.
    runs = 1 + 2 * len(kinds) * len(percents) * (1 + len(seeds))
    return Unit(
        f"without heads of each kind ({ablation}), {setup.name}",
        (str(ResultName.causes(ablation, setup.setting)),),
        setup.identity | over | {"percents": list(map(float, percents)), "random_seeds": list(seeds)},
        setup.documents * runs,
        measure,
        tuple(names.values()),
        work=lambda: with_ablation([_scoring(model, setup)] * runs, model, setup, ablation),
        group=setup.name,
    )


def verdicts_unit(
    model: Model,
    run: Run,
    setup: TaskSetup,
    together: Sequence[TaskSetup],
    ablation: AblationKind,
    kinds: Sequence[str],
) -> Unit:
    """Return the unit of the verdicts on the highest heads of each kind; arguments as of `set_effects_unit`.

    Verdicts on induction heads need some: a model can do well on repeats without any.
    """
    names = {kind: str(name_of_kind(kind, setup.setting, len(together))) for kind in kinds}
    over = _means_over(together)

    def measure(progress: Progress) -> tuple[Table]:
        options = _options(setup, together, ablation, progress)
        try:
            scores = _with_a_head(_scores(run, names))
            verdicts = importance.head_verdicts(model, setup.task, scores, VERDICT_PERCENT, **options)
        except InputError as error:  # a single document tells nothing, and there may be no head of any kind
            raise ImpossibleError(str(error)) from error
        return (replace(verdicts, provenance=verdicts.provenance | over),)

    return Unit(
        f"verdicts on heads ({ablation}), {setup.name}",
        (str(ResultName.verdicts(ablation, setup.setting)),),
        setup.identity | over | {"percent": VERDICT_PERCENT},
        setup.documents,
        measure,
        tuple(names.values()),
        work=lambda: with_ablation(
            [
                ModelPass(Kind.HEAD_ORACLE, example_items(model, setup)),
                *[_scoring(model, setup)] * (len(kinds) * (1 + floor(VERDICT_PERCENT * n_parts(model, "heads") / 100))),
            ],
            model,
            setup,
            ablation,
        ),
        group=setup.name,
    )


def causes_units(
    model: Model,
    run: Run,
    setups: Sequence[TaskSetup],
    ablations: Sequence[AblationKind],
    kinds: Sequence[str],
    percents: Sequence[float],
    seeds: Sequence[int],
    known: Container[str],
    reference: Sequence[TaskSetup] = (),
) -> list[Unit]:
    """Return the units of causes: scores of the kinds, as far as they are not known, then effects and verdicts.

    Args:
        model: The whole model.
        run: The run.
        setups: The tasks.
        ablations: The kinds of ablation.
        kinds: The kinds of heads.
        percents: The shares of heads that count as the highest.
        seeds: Seeds of the random sets.
        known: Names of scores that are not measured again, whatever their settings: a run, or those of other units.
        reference: The tasks whose prompts give the means of heads, and the function-vector effect; `setups` if left
            out. Of these, the ones with a task's number of shots count for it.
    """
    units = kind_units(model, setups, kinds, known)
    groups: dict[int, list[TaskSetup]] = {}
    for setup in reference or setups:
        groups.setdefault(setup.shots, []).append(setup)
    if "function_vector" in kinds:
        there = {unit.names for unit in units}
        units += [unit for unit in kind_units(model, reference, ["function_vector"], known) if unit.names not in there]
        units += [
            mean_unit(run, "function-vectors", shots, [setup.task.name for setup in group])
            for shots, group in groups.items()
            if len(group) > 1
        ]
    pairs = [(setup, groups.get(setup.shots) or [setup], ablation) for setup, ablation in product(setups, ablations)]
    units += [set_effects_unit(model, run, *pair, kinds, percents, seeds) for pair in pairs]
    return units + [verdicts_unit(model, run, *pair, kinds) for pair in pairs]


def kind_units(model: Model, setups: Sequence[TaskSetup], kinds: Sequence[str], known: Container[str]) -> list[Unit]:
    """Return the units of the scores of kinds of heads, each once; arguments as of `causes_units`."""
    units = [unit for setup in setups for kind in kinds for unit in units_of_kind(model, setup, kind)]
    return list({unit.names: unit for unit in units if any(name not in known for name in unit.names)}.values())


def units_of_kind(model: Model, setup: TaskSetup, kind: str) -> list[Unit]:
    """Return the units of the scores that say which heads are of a kind."""
    if kind == "induction":
        return [scores_unit(model, SEQUENCES, setup.seed, "successor")]
    if kind == "function_vector":
        return [function_vector_unit(model, setup, "gradient")]
    if kind == "gates":
        return [gates_unit(model, setup, "mean")]
    return [head_unit(model, setup, "gradient", "example")]


def _with_a_head(scores: Mapping[str, HeadScores]) -> dict[str, HeadScores]:
    """Return the scores of the kinds that a model has heads of, without the scores of heads that are none."""
    kinds = dict(scores)
    if (induction := kinds.get("induction")) is not None:
        values = induction.values.masked_fill(induction.values <= LOWEST_PREFIX_MATCHING, torch.nan)
        kinds["induction"] = replace(induction, values=values, variance=None, folds=None)
    return {kind: each for kind, each in kinds.items() if not each.values.isnan().all()}


def _scoring(model: Model, setup: TaskSetup) -> ModelPass:
    """Return the pass that scores a task's documents once."""
    return ModelPass(Kind.FORWARD, document_items(model, setup))


def _options(
    setup: TaskSetup, together: Sequence[TaskSetup], ablation: AblationKind, progress: Progress
) -> dict[str, Any]:
    options: dict[str, Any] = {"kind": ablation, "shots": setup.shots, "limit": setup.limit, "seed": setup.seed}
    if ablation == "mean" and len(together) > 1:
        options["reference"] = [
            example for other in together for example in other.task.reference(setup.shots, seed=setup.seed)
        ]
    return options | {"progress": progress.advance}


def _means_over(together: Sequence[TaskSetup]) -> dict[str, list[str]]:
    """Return the entry of provenance that names the tasks whose means are taken; none for a task's own."""
    return {"means_over": sorted(setup.task.name for setup in together)} if len(together) > 1 else {}


def _scores(run: Run, names: Mapping[str, str]) -> dict[str, HeadScores]:
    """Return the scores of each kind.

    Raises:
        InputError: One of them is no score of heads.
    """
    scores = {kind: scores_of(run, name) for kind, name in names.items()}
    if wrong := [names[kind] for kind, values in scores.items() if not isinstance(values, HeadScores)]:
        raise InputError(f"{wrong[0]} in {run.folder}: expected scores of heads; measure again")
    return {kind: values for kind, values in scores.items() if isinstance(values, HeadScores)}
