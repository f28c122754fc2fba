"""Units of the ranking benchmark: rankings of heads, curves as the last of each go, and the areas under them."""

from collections.abc import Container, Sequence
from dataclasses import replace
from typing import Any

from headcount import importance
from headcount.importance.internal import (
    PrunedAnswers,
    TaskSetup,
    activation_norms,
    answers_with,
    document_items,
    encode_task,
    example_items,
    head_importance_work,
    pruning_curve,
    with_ablation,
)
from headcount.progress import Progress
from headcount.results import HeadScores, InputError, PruningCurve, ResultName, Run, Setting, Table
from headcount.stats import compare
from headcount.study.unit import ImpossibleError, Unit
from headcount.study.units import ranking_tables
from headcount.study.units.causes import kind_units, name_of_kind
from headcount.study.units.means import scores_of
from headcount.tracing import Model
from headcount.tracing.internal import AblationKind, Kind, ModelPass

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

OTHERS = {"gates-other": "gates"}
"""Rankings by a kind's scores in the mean over the other tasks: they were not tuned to the task they are judged on."""


def rank_units(
    model: Model,
    run: Run,
    setups: Sequence[TaskSetup],
    ablations: Sequence[AblationKind],
    rankings: Sequence[str],
    known: Container[str],
) -> list[Unit]:
    """Return the units that compare rankings: the rankings, the curves, and the areas under them.

    Args:
        model: The whole model.
        run: The run.
        setups: The tasks; rankings are made on train rows, and judged on the scored ones.
        ablations: The kinds of ablation.
        rankings: Some of `headcount.study.RANKINGS`; `token`, with which the others are compared, is among them. Those
            of other tasks are left out where no other task has as many shots.
        known: Names of the scores of kinds that are not measured again: a run, or those of other units.
    """
    kinds = [(KINDS | OTHERS)[name] for name in rankings if name in KINDS | OTHERS]
    units = kind_units(model, setups, kinds, known)
    for setup in setups:
        measured = dict.fromkeys(SIZES.get(name, name) for name in rankings)
        units += [ranking_unit(model, setup, name) for name in measured if name in (*ATTRIBUTIONS, "activation-norm")]
        for ablation in ablations:
            answers = _Answers(model, setup, ablation)
            curves = {name: needs for name in rankings if (needs := _scores_of(name, setup, setups)) is not None}
            units += [curve_unit(run, answers, name, needs) for name, needs in curves.items()]
            units.append(_areas_unit(run, setup, ablation, list(curves)))
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
        work=lambda: _ranking_work(model, setup, ranking),
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


def curve_unit(run: Run, answers: _Answers, ranking: str, needs: tuple[str, ...]) -> Unit:
    """Return the unit of the curve as a ranking's last heads go; the ranking is the mean of the scores in `needs`."""
    setup, ablation = answers.setup, answers.ablation
    is_random = ranking == "random"
    steps = (1 + len(PERCENTS)) * (len(RANDOM_ORDERS) if is_random else 1)

    def measure(progress: Progress) -> tuple[PruningCurve]:
        if is_random:
            return (pruning_curve(answers.get(progress), None, "heads", PERCENTS, "random", RANDOM_ORDERS),)
        by_name = {name: scores_of(run, name) for name in needs}
        scores = compare.aggregate(by_name) if len(needs) > 1 else by_name[needs[0]]
        if ranking in SIZES:
            scores = replace(scores, values=scores.extras["absolute_drop"], variance=None, folds=None, extras={})
        return (pruning_curve(answers.get(progress), scores, "heads", PERCENTS),)

    return Unit(
        f"heads removed by {ranking} ({ablation}), {setup.name}",
        (str(ResultName.rank(ablation, setup.setting, ranking)),),
        setup.identity | {"percents": [0.0, *PERCENTS]},
        steps * setup.documents,
        measure,
        needs,
        work=lambda: with_ablation(
            [ModelPass(Kind.FORWARD, document_items(answers.model, setup))] * steps, answers.model, setup, ablation
        ),
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


def _ranking_work(model: Model, setup: TaskSetup, ranking: str) -> tuple[ModelPass, ...]:
    if ranking == "activation-norm":
        return (ModelPass(Kind.FORWARD, example_items(model, setup)),)
    arguments = ATTRIBUTIONS[ranking]
    passes = head_importance_work(model, setup, arguments.get("method", "gradient"), arguments.get("steps", 1))
    return with_ablation(passes, model, setup, arguments.get("baseline", "zero"))


def _scores_of(ranking: str, setup: TaskSetup, setups: Sequence[TaskSetup]) -> tuple[str, ...] | None:
    """Return the names of the scores that make a ranking; None for one of other tasks where there is no other."""
    if ranking == "random":
        return ()
    if ranking not in OTHERS:
        return (str(_ranking_name(ranking, setup.setting)),)
    others = [other.setting for other in setups if other.shots == setup.shots and other.name != setup.name]
    return tuple(str(name_of_kind(OTHERS[ranking], other)) for other in others) or None


def _ranking_name(ranking: str, setting: Setting) -> ResultName:
    """Return the name of a ranking's scores."""
    if ranking in KINDS:
        return name_of_kind(KINDS[ranking], setting)
    return ResultName.importance(f"ranking-{SIZES.get(ranking, ranking)}", setting)
