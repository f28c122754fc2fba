"""Units of pruning: accuracy along each ranking, and the grid of heads by feed-forward networks."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from math import isnan
from typing import Any, Literal

from headcount.importance.internal import (
    Component,
    PrunedAnswers,
    Strategy,
    TaskSetup,
    answers_with,
    encode_task,
    n_parts,
    pruning_curve,
    pruning_grid,
    recomputed_ranking,
    with_ablation,
)
from headcount.progress import Progress
from headcount.results import (
    ExpertScores,
    HeadScores,
    InputError,
    LayerScores,
    PruningCurve,
    PruningGrid,
    ResultName,
    Run,
    Setting,
)
from headcount.stats import compare
from headcount.study.config import GRID_FFN_PERCENTS, GRID_HEAD_PERCENTS
from headcount.study.unit import ImpossibleError, Unit
from headcount.study.units.means import scores_of
from headcount.study.units.pruning_work import curve_work, grid_work, recomputed_work
from headcount.study.units.tasks import ablation_settings, ablation_title, expert_unit, ffn_unit, head_unit
from headcount.tracing import Model
from headcount.tracing.internal import AblationKind, Work

Scores = HeadScores | LayerScores | ExpertScores
Ranking = Literal["own", "mean", "most", "least"]


TIES = {"ties": "log_p"}
"""The provenance of curves of FFNs whose equal drops of accuracy were ordered by the drop of log-probability.

Earlier versions ordered them by layer: at the ceiling of accuracy, that decided which networks went first.
"""


@dataclass(frozen=True)
class _Curve:
    """The options of a pruning curve: the parts to remove and the order in which they go.

    Attributes:
        component: The parts.
        ranking: The name of the order in the result's name.
        percents: The percentages to remove.
        strategy: The strategy of `prune`.
        seeds: Seeds of the random orders.
    """

    component: Component
    ranking: str
    percents: tuple[float, ...]
    strategy: Strategy = "static"
    seeds: tuple[int, ...] = (0,)


class PruningUnits:
    """Units that prune one model on some tasks; those of one task share the removals that were run before.

    Args:
        model: The whole model.
        run: The run that holds importance and takes the curves.
        ablation: The kind of ablation of the removed parts. Heads are ranked alike for all kinds, feed-forward networks
            by their importance with this one.
    """

    def __init__(self, model: Model, run: Run, ablation: AblationKind = "zero") -> None:
        self.model, self.run, self.ablation = model, run, ablation
        self._answers_of = cache(self._new_answers)

    def ranked(
        self,
        setup: TaskSetup,
        component: Component,
        ranking: Ranking,
        percents: Sequence[float],
        candidates: Sequence[str] = (),
    ) -> Unit:
        """Return the unit of a curve along the importance of the task itself, of another task, or their mean.

        Args:
            setup: The task that is scored.
            component: The parts to remove.
            ranking: The ranking that decides the order: `own`, `mean`, or that of the task that is correlated `most`
                or `least` with the task's own.
            percents: The percentages to remove.
            candidates: The tasks to find the most or least correlated one in.
        """

        def importance(task: str) -> str:
            ranked = "heads" if component == "kv_groups" else component  # groups are ranked by their heads
            return str(ResultName.importance(ranked, Setting(task, setup.shots), self._ranks_by(component)))

        of_task = importance(setup.task.name)
        needs = {"own": (of_task,), "mean": (importance("mean"),)}.get(ranking, (of_task, *map(importance, candidates)))

        def order() -> Scores:
            scores = {name: scores_of(self.run, name) for name in needs}
            return _correlated(scores, of_task, ranking) if ranking in ("most", "least") else scores[needs[0]]

        options = _Curve(component, ranking, tuple(percents))
        work = partial(curve_work, self.model, setup, component, [ranking], percents)
        return self._curve_unit(setup, options, work, needs, order)

    def random(self, setup: TaskSetup, component: Component, percents: Sequence[float], seeds: Sequence[int]) -> Unit:
        """Return the unit of curves in random orders, the control."""
        options = _Curve(component, "random", tuple(percents), "random", tuple(seeds))
        orders = [f"random {seed}" for seed in seeds]
        return self._curve_unit(setup, options, partial(curve_work, self.model, setup, component, orders, percents))

    def recomputed(
        self, setup: TaskSetup, component: Component, percents: Sequence[float], *, same_as_own: bool = True
    ) -> Unit:
        """Return the unit of a curve whose ranking is measured again before each step.

        Args:
            setup: The task that is scored, and ranks the parts.
            component: The parts to remove.
            percents: The percentages to remove.
            same_as_own: True if the task's own ranking was measured alike; only the predicted cost depends on it.
        """
        options = _Curve(component, "recomputed", tuple(percents), "recomputed")
        work = partial(recomputed_work, self.model, setup, component, percents, same_as_own=same_as_own)
        return self._curve_unit(setup, options, work)

    def grid(self, setup: TaskSetup, head_percents: Sequence[float], ffn_percents: Sequence[float]) -> Unit:
        """Return the unit of a grid: heads and feed-forward networks together, each along the task's ranking."""
        parts: tuple[Component, ...] = ("heads", "ffns")
        needs = tuple(str(ResultName.importance(part, setup.setting, self._ranks_by(part))) for part in parts)

        def measure(progress: Progress) -> tuple[PruningGrid]:
            heads, ffns = (scores_of(self.run, name) for name in needs)
            if not isinstance(heads, HeadScores) or not isinstance(ffns, LayerScores):
                raise InputError(f"expected scores of heads and of layers in {' and '.join(needs)}; measure again")
            return (pruning_grid(self._answers(setup, progress), heads, ffns, head_percents, ffn_percents),)

        return Unit(
            f"grid, {setup.name}{ablation_title(self.ablation)}",
            (str(ResultName.grid(setup.setting, self.ablation)),),
            setup.identity
            | ablation_settings(self.ablation)
            | {"head_percents": [0.0, *head_percents], "ffn_percents": [0.0, *ffn_percents]}
            | {"rankings": {"ffns": TIES}},
            (len(head_percents) + 1) * (len(ffn_percents) + 1) * setup.documents,
            measure,
            needs,
            self._work(partial(grid_work, self.model, setup, head_percents, ffn_percents), setup),
            group=setup.name,
        )

    def _curve_unit(
        self,
        setup: TaskSetup,
        options: _Curve,
        work: Work,
        needs: tuple[str, ...] = (),
        order: Callable[[], Scores] | None = None,
    ) -> Unit:
        component, ranking, percents, seeds = options.component, options.ranking, options.percents, options.seeds

        def measure(progress: Progress) -> tuple[PruningCurve]:
            answers, scores = self._answers(setup, progress), None if order is None else order()
            return (pruning_curve(answers, scores, component, percents, options.strategy, seeds),)

        settings: dict[str, Any] = {
            "strategy": options.strategy,
            "percents": [0.0, *percents],
            "seeds": list(seeds),
            **(TIES if component == "ffns" and options.strategy != "random" else {}),
        }
        if options.strategy == "recomputed" and (again := recomputed_ranking(component)):
            settings["ranking"] = again
        return Unit(
            f"{component} removed ({ranking}), {setup.name}{ablation_title(self.ablation)}",
            (str(ResultName.curve(component, setup.setting, ranking, self.ablation)),),
            setup.identity | settings | ablation_settings(self.ablation),
            (len(percents) + 1) * len(seeds) * setup.documents,
            measure,
            needs,
            self._work(work, setup),
            group=setup.name,
        )

    def _ranks_by(self, component: Component) -> AblationKind:
        """Return the kind of ablation that the importance of some parts was measured with."""
        return self.ablation if component == "ffns" else "zero"

    def _work(self, work: Work, setup: TaskSetup) -> Work:
        """Return the work with what the kind of ablation adds."""
        return lambda: with_ablation(work(), self.model, setup, self.ablation)

    def _answers(self, setup: TaskSetup, progress: Progress) -> PrunedAnswers:
        """Return the task's answers by removal, which advance this bar."""
        answers = self._answers_of(setup)
        answers.progress = progress.advance
        return answers

    def _new_answers(self, setup: TaskSetup) -> PrunedAnswers:
        encoded = encode_task(self.model, setup.task, setup.shots, setup.limit, setup.seed)
        return answers_with(self.model, encoded, self.ablation)


def pruning_units(
    model: Model,
    run: Run,
    setups: Sequence[TaskSetup],
    component: Component | Literal["both"],
    strategy: Strategy,
    percents: Sequence[float],
    seeds: Sequence[int],
    ablation: AblationKind = "zero",
) -> list[Unit]:
    """Return the units of the `prune` command: importance where the run has none, then the curves or grids.

    Raises:
        InputError: `both` is combined with a strategy other than `static`, experts with a kind of ablation, or the
            model has no such parts.
    """
    if component == "both" and strategy != "static":
        raise InputError(f"--component both goes by rankings: leave out --strategy {strategy}")
    if component == "experts" and ablation != "zero":
        raise InputError("experts are removed by zeros, as weights of their router: leave out --ablation")
    if component != "both":
        n_parts(model, component)  # raises if there are none
    pruning = PruningUnits(model, run, ablation)
    units = []
    for setup in setups:
        if strategy == "static":
            units += [unit for unit in _importance_units(model, setup, component, ablation) if unit.names[0] not in run]
        if component == "both":
            units.append(pruning.grid(setup, GRID_HEAD_PERCENTS, GRID_FFN_PERCENTS))
        elif strategy == "static":
            units.append(pruning.ranked(setup, component, "own", percents))
        elif strategy == "random":
            units.append(pruning.random(setup, component, percents, seeds))
        else:
            units.append(pruning.recomputed(setup, component, percents))
    return units


def _importance_units(model: Model, setup: TaskSetup, component: str, ablation: AblationKind) -> list[Unit]:
    if component == "experts":
        return [expert_unit(model, setup, "gradient", "example")]
    heads = [head_unit(model, setup, "gradient", "example")] if component != "ffns" else []
    return heads + ([ffn_unit(model, setup, ablation=ablation)] if component in ("ffns", "both") else [])


def _correlated(scores: Mapping[str, Scores], of_task: str, ranking: Ranking) -> Scores:
    """The scores of another task that are correlated most, or least, with a task's."""
    rhos = {
        name: compare.spearman(scores[of_task], other, resamples=0).rho
        for name, other in scores.items()
        if name != of_task
    }
    known = {name: rho for name, rho in rhos.items() if not isnan(rho)}
    if not known:
        raise ImpossibleError(f"no other task's importance can be correlated with {of_task}")
    best = max if ranking == "most" else min
    return scores[best(known, key=known.__getitem__)]
