"""Units of the ranking benchmark: rankings of heads, curves as the last of each go, and the areas under them."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from headcount import importance
from headcount.importance.internal import (
    PrunedAnswers,
    TaskSetup,
    activation_norms,
    answers_with,
    encode_task,
    pruning_curve,
)
from headcount.progress import Progress
from headcount.results import HeadScores, InputError, PruningCurve, ResultName, Run, Setting, Table
from headcount.study import ranking_tables
from headcount.study.unit import ImpossibleError, Unit
from headcount.study.units.causes import name_of_kind, units_of_kind
from headcount.study.units.means import scores_of
from headcount.tracing import Model
from headcount.tracing.internal import AblationKind

PERCENTS = (10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0, 100.0)
RANDOM_ORDERS = (0, 1, 2, 3, 4)
PUBLISHED = "token"

ATTRIBUTIONS: dict[str, dict[str, Any]] = {
    "token": {"reduction": "token"},
    "example": {"reduction": "example"},
    "drop": {"reduction": "drop"},
    "example-mean": {"reduction": "example", "baseline": "mean"},
    "integrated-mean": {"reduction": "example", "baseline": "mean", "steps": 5},
    "oracle": {"method": "oracle"},
    "oracle-mean": {"method": "oracle", "baseline": "mean"},
}
"""Rankings by `head_importance`, and its arguments; those with a mean take it over the task's reference rows."""

SIZES = {"oracle-size": "oracle", "oracle-mean-size": "oracle-mean"}
"""Rankings by the size of a drop, whatever its sign: heads whose removal helps are then not the first to go."""

KINDS = {"prefix-matching": "induction", "function-vectors": "function_vector", "gates": "gates"}
"""Rankings by the scores of a kind of heads."""

RANKINGS = (*ATTRIBUTIONS, *SIZES, "activation-norm", *KINDS, "random")


def rank_units(
    model: Model, run: Run, setups: Sequence[TaskSetup], ablations: Sequence[AblationKind], rankings: Sequence[str]
) -> list[Unit]:
    """Return the units of the `rank` command: the rankings that the run lacks, the curves, and the areas under them.

    Args:
        model: The whole model.
        run: The run.
        setups: The tasks; rankings are made on train rows, and judged on the scored ones.
        ablations: The kinds of ablation.
        rankings: Some of `RANKINGS`; `token`, with which the others are compared, is among them.
    """
    units = []
    for setup in setups:
        kinds = [unit for name in rankings if name in KINDS for unit in units_of_kind(model, setup, KINDS[name])]
        units += [unit for unit in kinds if any(name not in run for name in unit.names)]
        measured = dict.fromkeys(SIZES.get(name, name) for name in rankings)
        units += [ranking_unit(model, setup, name) for name in measured if name in (*ATTRIBUTIONS, "activation-norm")]
        for ablation in ablations:
            answers = _Answers(model, setup, ablation)
            units += [curve_unit(run, answers, ranking) for ranking in rankings]
            units.append(_areas_unit(run, setup, ablation, rankings))
    return units


def ranking_unit(model: Model, setup: TaskSetup, ranking: str) -> Unit:
    """Return the unit of one ranking on a task's train rows."""
    arguments = ATTRIBUTIONS.get(ranking, {})

    def measure(progress: Progress) -> tuple[HeadScores]:
        task = setup.task
        examples = task.examples(setup.shots, setup.limit, seed=setup.seed)
        options: dict[str, Any] = {"encoding": task.encoding, "progress": progress.advance}
        if ranking == "activation-norm":
            scores = activation_norms(model, examples, **options)
        else:
            if "baseline" in arguments:
                options["reference"] = task.reference(setup.shots, seed=setup.seed)
            scores = importance.head_importance(model, examples, **arguments, **options)
        return (replace(scores, provenance=scores.provenance | setup.provenance),)

    return Unit(
        f"ranking by {ranking}, {setup.name}",
        (str(_ranking_name(ranking, setup.setting)),),
        setup.identity,
        setup.examples,
        measure,
        group=setup.name,
    )


class _Answers:
    """The answers to one task with one kind of ablation, made when they are needed and then shared by its curves."""

    def __init__(self, model: Model, setup: TaskSetup, ablation: AblationKind) -> None:
        self.model, self.setup, self.ablation = model, setup, ablation
        self._answers: PrunedAnswers | None = None

    def get(self, progress: Progress) -> PrunedAnswers:
        """Return the answers, which advance this bar."""
        setup = self.setup
        if self._answers is None:
            encoded = encode_task(self.model, setup.task, setup.shots, setup.limit, setup.seed)
            self._answers = answers_with(self.model, encoded, self.ablation)
        self._answers.progress = progress.advance
        return self._answers


def curve_unit(run: Run, answers: _Answers, ranking: str) -> Unit:
    """Return the unit of the curve as a ranking's last heads go."""
    setup, ablation = answers.setup, answers.ablation
    is_random = ranking == "random"
    needs: tuple[str, ...] = () if is_random else (str(_ranking_name(ranking, setup.setting)),)

    def measure(progress: Progress) -> tuple[PruningCurve]:
        if is_random:
            return (pruning_curve(answers.get(progress), None, "heads", PERCENTS, "random", RANDOM_ORDERS),)
        scores = scores_of(run, needs[0])
        if ranking in SIZES:
            scores = replace(scores, values=scores.extras["absolute_drop"], variance=None, folds=None, extras={})
        return (pruning_curve(answers.get(progress), scores, "heads", PERCENTS),)

    return Unit(
        f"heads removed by {ranking} ({ablation}), {setup.name}",
        (str(ResultName.rank(ablation, setup.setting, ranking)),),
        setup.identity | {"percents": [0.0, *PERCENTS]},
        (1 + len(PERCENTS)) * (len(RANDOM_ORDERS) if is_random else 1) * setup.documents,
        measure,
        needs,
        group=setup.name,
    )


def _areas_unit(run: Run, setup: TaskSetup, ablation: AblationKind, rankings: Sequence[str]) -> Unit:
    names = {ranking: str(ResultName.rank(ablation, setup.setting, ranking)) for ranking in rankings}

    def measure(progress: Progress) -> tuple[Table]:
        curves = {ranking: run[name] for ranking, name in names.items() if name in run}
        known = {ranking: curve for ranking, curve in curves.items() if isinstance(curve, PruningCurve)}
        try:
            rows = ranking_tables.areas(known, PUBLISHED)
        except (InputError, KeyError) as error:
            raise ImpossibleError(f"areas cannot be compared: {error}") from error
        definition = f"{setup.name}: area under what is left as the last heads of each ranking go, {ablation} ablation"
        return (Table.of(rows, definition, **setup.provenance, ablation=ablation),)

    return Unit(
        f"areas under rankings ({ablation}), {setup.name}",
        (str(ResultName.areas(ablation, setup.setting)),),
        {},
        0,
        measure,
        tuple(names.values()),
        partial=True,
    )


def _ranking_name(ranking: str, setting: Setting) -> ResultName:
    """Return the name of a ranking's scores."""
    if ranking in KINDS:
        return name_of_kind(KINDS[ranking], setting)
    return ResultName.importance(f"ranking-{SIZES.get(ranking, ranking)}", setting)
