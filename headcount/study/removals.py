"""Units of work that remove parts: pruning curves along every ranking, and the combined grid."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from itertools import product
from math import isnan
from typing import Literal

from headcount.importance.evaluation import ask
from headcount.importance.pruning.prune import EXAMPLES, Strategy, curve, grid, steps_of
from headcount.importance.pruning.sweep import Component, Sweep, n_parts
from headcount.importance.tasks.setup import TaskSetup
from headcount.importance.work import documents_of, examples_of
from headcount.progress import Progress
from headcount.results import HeadScores, InputError, LayerScores, PruningCurve, PruningGrid, Run
from headcount.stats import compare
from headcount.study.config import Study, Tasks
from headcount.study.measure import ffn_unit, head_unit, scores_of
from headcount.study.units import ImpossibleError, Unit
from headcount.tracing import Model
from headcount.tracing.internal import Kind, ModelPass

Scores = HeadScores | LayerScores
Ranking = Literal["own", "mean", "most", "least"]


class Removals:
    """Makes the units of one study, whose curves share what was run before.

    Args:
        model: The whole model.
        run: The run that holds importance, and takes the curves.
        config: The study.
    """

    def __init__(self, model: Model, run: Run, config: Study) -> None:
        self.model, self.run, self.config = model, run, config
        self._sweep = cache(self._asked)

    def ranked(self, setting: TaskSetup, component: Component, ranking: Ranking, others: Sequence[str]) -> Unit:
        """A curve along the importance of the task itself, of others, or their mean.

        Args:
            setting: The task that is scored.
            component: What is removed.
            ranking: What decides who goes.
            others: The tasks to find the most and least correlated one in.
        """
        folder, shots = f"importance/{component}", f"{setting.shots}shot"
        own = f"{folder}/{setting.name}"
        needs = {"own": (own,), "mean": (f"{folder}/mean.{shots}",)}.get(
            ranking, (own, *(f"{folder}/{task}.{shots}" for task in others))
        )

        def order() -> Scores:
            scores = {name: scores_of(self.run, name) for name in needs}
            return _chosen(scores, own, ranking) if ranking in ("most", "least") else scores[needs[0]]

        cross = self.config.cross_percents
        percents = self._percents(component) if ranking == "own" or cross is None else tuple(cross)
        return self._curve(setting, component, ranking, percents, needs, order)

    def random(self, setting: TaskSetup, component: Component) -> Unit:
        """The control: the same removal in random orders."""
        seeds = tuple(self.config.random_seeds)
        return self._curve(setting, component, "random", tuple(self.config.random_percents), (), _none, "random", seeds)

    def recomputed(self, setting: TaskSetup, component: Component) -> Unit:
        """A curve whose ranking is measured again before each step."""
        return self._curve(setting, component, "recomputed", self._percents(component), (), _none, "recomputed")

    def grid(self, setting: TaskSetup) -> Unit:
        """Heads and feed-forward networks together, each along its own ranking."""
        config = self.config
        needs = tuple(f"importance/{component}/{setting.name}" for component in ("heads", "ffns"))
        across, down = tuple(config.grid_head_percents), tuple(config.grid_ffn_percents)

        def measure(progress: Progress) -> tuple[PruningGrid]:
            heads, ffns = (scores_of(self.run, name) for name in needs)
            if not isinstance(heads, HeadScores) or not isinstance(ffns, LayerScores):
                raise InputError(f"expected scores of heads and of layers in {' and '.join(needs)}; measure again")
            return (grid(self._followed(setting, progress), heads, ffns, across, down),)

        asked = setting.asked | {"head_percents": [0.0, *across], "ffn_percents": [0.0, *down]}
        points = (len(across) + 1) * (len(down) + 1)
        name = f"pruning/grid/{setting.name}"
        steps = points * setting.documents

        def work() -> list[ModelPass]:
            pairs = product(self._counts("heads", across), self._counts("ffns", down))
            return [self._pass(setting, "own", heads, "own", networks) for heads, networks in pairs]

        return Unit(f"grid, {setting.name}", (name,), asked, steps, measure, needs, work, group=setting.name)

    def _curve(
        self,
        setting: TaskSetup,
        component: Component,
        kind: str,
        percents: tuple[float, ...],
        needs: tuple[str, ...],
        order: Callable[[], Scores | None],
        strategy: Strategy = "static",
        seeds: tuple[int, ...] = (0,),
    ) -> Unit:
        def measure(progress: Progress) -> tuple[PruningCurve]:
            sweep = self._followed(setting, progress)
            return (curve(sweep, order(), component, percents, strategy, seeds),)

        name = f"pruning/{component}/{setting.name}.{kind}"
        asked = setting.asked | {"strategy": strategy, "percents": [0.0, *percents], "seeds": list(seeds)}
        steps = (len(percents) + 1) * len(seeds) * setting.documents

        def work() -> list[ModelPass]:
            counts = self._counts(component, percents)
            if strategy == "recomputed":
                return self._work_recomputed(setting, component, counts)
            orders = [f"random {seed}" for seed in seeds] if strategy == "random" else [kind]
            return [self._first(setting, component, order, count) for order in orders for count in counts]

        title = f"{component} removed ({kind}), {setting.name}"
        return Unit(title, (name,), asked, steps, measure, needs, work, group=setting.name)

    def _counts(self, component: Component, percents: Sequence[float]) -> list[int]:
        """How many parts go at each step, 0 first."""
        return steps_of(percents, n_parts(self.model.sizes, component))[1]

    def _first(self, setting: TaskSetup, component: Component, order: str, count: int) -> ModelPass:
        if component == "heads":
            return self._pass(setting, order, count)
        return self._pass(setting, "", 0, order, count)

    def _pass(
        self, setting: TaskSetup, head_order: str, heads: int, ffn_order: str = "", networks: int = 0
    ) -> ModelPass:
        """The documents without the first of each order; where none or all go, the order does not matter."""
        sizes = self.model.sizes
        by_heads = head_order if 0 < heads < n_parts(sizes, "heads") else ""
        by_ffns = ffn_order if 0 < networks < n_parts(sizes, "ffns") else ""
        key = (setting.name, by_heads, heads, by_ffns, networks)
        return ModelPass(Kind.FORWARD, documents_of(self.model, setting), heads, networks, key=key)

    def _work_recomputed(self, setting: TaskSetup, component: Component, counts: Sequence[int]) -> list[ModelPass]:
        """Importance before every step that removes something more, at the whole model's operations, and the steps."""
        steps, config = sorted(set(counts) - {0}), self.config
        ranked, own = replace(setting, limit=EXAMPLES), replace(setting, limit=config.examples)
        if component == "ffns":
            again, alike = ModelPass(Kind.FFN_ORACLE, documents_of(self.model, setting)), config.rank_split is None
        else:
            again = ModelPass(Kind.GRADIENTS, examples_of(self.model, ranked))
            alike = config.reduction == "token" and ranked.examples == own.examples
        first = "own" if alike else "recomputed"  # the first ranking may be the task's own, measured alike
        orders = {0: "", **dict.fromkeys(steps, "recomputed"), **dict.fromkeys(steps[:1], first)}
        removed = [self._first(setting, component, order, count) for count, order in orders.items()]
        return [again] * max(1, len(steps)) + removed

    def _percents(self, component: Component) -> tuple[float, ...]:
        return tuple(self.config.head_percents if component == "heads" else self.config.ffn_percents)

    def _followed(self, setting: TaskSetup, progress: Progress) -> Sweep:
        sweep = self._sweep(setting)
        sweep.progress = progress.advance
        return sweep

    def _asked(self, setting: TaskSetup) -> Sweep:
        return Sweep(self.model, ask(self.model, setting.task, setting.shots, setting.limit, setting.seed))


def pruning_units(
    model: Model,
    run: Run,
    settings: Sequence[TaskSetup],
    component: Component | Literal["both"],
    strategy: Strategy,
    percents: Sequence[float],
    seeds: Sequence[int],
) -> list[Unit]:
    """What the `prune` command measures: importance where the run has none, then the curves or grids.

    Raises:
        InputError: `both` is to go in another way than by a ranking.
    """
    if component == "both" and strategy != "static":
        raise InputError(f"--component both goes by rankings: leave out --strategy {strategy}")
    shares = list(percents)
    config = Study(
        tasks=[Tasks(names=[setting.task.name for setting in settings])],
        head_percents=shares,
        ffn_percents=shares,
        random_percents=shares,
        random_seeds=list(seeds),
    )
    removals = Removals(model, run, config)
    units = []
    for setting in settings:
        if strategy == "static":
            units += [unit for unit in _rankings(model, setting, component) if unit.names[0] not in run]
        if component == "both":
            units.append(removals.grid(setting))
        elif strategy == "static":
            units.append(removals.ranked(setting, component, "own", ()))
        else:
            units.append(getattr(removals, strategy)(setting, component))
    return units


def _rankings(model: Model, setting: TaskSetup, component: str) -> list[Unit]:
    heads = [head_unit(model, setting, "gradient", "token")] if component != "ffns" else []
    return heads + ([ffn_unit(model, setting)] if component != "heads" else [])


def _none() -> None:
    """The order of a strategy that finds its own."""


def _chosen(scores: Mapping[str, Scores], own: str, ranking: Ranking) -> Scores:
    """Of the other tasks' scores, those that are correlated most, or least, with a task's own."""
    rhos = {
        name: compare.spearman(scores[own], other, resamples=0).rho for name, other in scores.items() if name != own
    }
    known = {name: rho for name, rho in rhos.items() if not isnan(rho)}
    if not known:
        raise ImpossibleError(f"no other task's importance can be correlated with {own}")
    best = max if ranking == "most" else min
    return scores[best(known, key=known.__getitem__)]
