"""Units that compare the results of a run; each leaves a table."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from headcount.progress import Progress
from headcount.results import ExpertScores, HeadScores, InputError, LayerScores, ResultName, Run, Setting, Table
from headcount.results.internal import SCORES
from headcount.stats import compare
from headcount.study import analysis_tables as tables
from headcount.study.unit import ImpossibleError, Unit
from headcount.study.units.means import mean_units, scores_of

Scores = HeadScores | LayerScores | ExpertScores
Key = TypeVar("Key")


class AnalysisUnits:
    """Units that compare the results of one run.

    Args:
        run: The run.
        top: The share of highest heads whose overlap is measured.
        seed: Seed of resampling.
        n_layers: The number of the model's layers; fewer than three cannot be ranked.
    """

    def __init__(self, run: Run, top: float, seed: int, n_layers: int) -> None:
        self.run, self.top, self.seed, self.n_layers = run, top, seed, n_layers

    def of_shots(self, shots: int, tasks: Sequence[str]) -> list[Unit]:
        """Return the units that compare some tasks at one number of shots."""
        heads = _importance("heads", shots, tasks)
        seed, top = self.seed, self.top
        units = [
            self._table_unit("heads/reliability", shots, heads, partial(tables.reliabilities, seed=seed)),
            *self._with_induction(shots, heads),
        ]
        if len(tasks) > 1:
            units += [
                self._table_unit("heads/correlations", shots, heads, partial(tables.correlations, seed=seed)),
                self._table_unit("heads/overlaps", shots, heads, partial(tables.overlaps, top=top, seed=seed)),
                self._table_unit("heads/order", shots, heads, tables.task_order),
            ]
        if len(tasks) > 1 and self.n_layers >= compare.FEWEST:
            ffns = _importance("ffns", shots, tasks)
            analysis = partial(tables.ffn_correlations, seed=seed)
            units.append(self._table_unit("ffns/correlations", shots, ffns, analysis))
        return units

    def across_shots(self, tasks: Mapping[str, Sequence[int]]) -> list[Unit]:
        """Return the unit that compares the rankings of each task at different numbers of shots, if there are any.

        Args:
            tasks: The numbers of shots of each task.
        """
        settings = [Setting(task, shots) for task, numbers in tasks.items() if len(numbers) > 1 for shots in numbers]
        if not settings:
            return []
        needs = {setting: str(ResultName.importance("heads", setting)) for setting in settings}

        def measure(progress: Progress) -> tuple[Table, Table]:
            scores = {setting: scores_of(self.run, name) for setting, name in needs.items()}
            pairs = tables.shot_pairs(scores, seed=self.seed)
            return self._table(tables.across_shots(pairs)), self._table(tables.across_shots_summary(pairs))

        topics = ("heads/across_shots", "heads/across_shots_summary")
        names = tuple(str(ResultName.analysis(topic)) for topic in topics)
        return [Unit("rankings across shots", names, self._settings, 0, measure, tuple(needs.values()))]

    def layers(self, names: Sequence[ResultName]) -> Unit:
        """Return the unit of the mean of each score in each layer."""
        return self._unit(ResultName.analysis("layers"), {name: str(name) for name in names}, tables.layer_means)

    def gradients_and_oracle(self, settings: Sequence[Setting]) -> Unit:
        """Return the unit that compares importance by gradients with importance by removing heads."""
        needs = {
            (part, setting): str(ResultName.importance(part, setting))
            for setting in settings
            for part in ("heads", "heads-oracle")
        }

        def analyse(scores: Mapping[tuple[str, Setting], Scores]) -> tables.Rows:
            gradients, oracle = (
                {setting: scores[part, setting] for setting in settings} for part in ("heads", "heads-oracle")
            )
            return tables.gradients_and_oracle(gradients, oracle, top=self.top, seed=self.seed)

        return self._unit(ResultName.analysis("gradient_and_oracle"), needs, analyse)

    def _with_induction(self, shots: int, heads: Mapping[str, str]) -> list[Unit]:
        """The units that compare tasks with induction scores."""
        induction = {score: str(ResultName.induction(score)) for score in SCORES}
        agreement = partial(tables.agreements, top=self.top, seed=self.seed)
        units = [self._table_unit("agreement", shots, {**induction, **heads}, agreement)]
        for score in ("prefix_matching", "copying"):
            for task, importance in heads.items():
                needs = {"score": induction[score], "order": importance}
                name = ResultName.capacity(score, Setting(task, shots))
                units.append(self._unit(name, needs, partial(tables.capacities, seed=self.seed)))
        return units

    def _table_unit(
        self, topic: str, shots: int, needs: Mapping[str, str], analyse: Callable[[dict[str, Scores]], tables.Rows]
    ) -> Unit:
        return self._unit(ResultName.analysis(topic, shots), needs, analyse)

    def _unit(
        self, name: ResultName, needs: Mapping[Key, str], analyse: Callable[[dict[Key, Scores]], tables.Rows]
    ) -> Unit:
        """A unit that reads the scores it needs, each by a key of its own, and leaves one table."""

        def measure(progress: Progress) -> tuple[Table]:
            scores = {key: scores_of(self.run, need) for key, need in needs.items()}
            try:
                return (self._table(analyse(scores)),)
            except InputError as error:  # too little was measured: scores may be NaN
                raise ImpossibleError(str(error)) from error

        return Unit(str(name), (str(name),), self._settings, 0, measure, tuple(needs.values()))

    @property
    def _settings(self) -> dict[str, Any]:
        return {"seed": self.seed, "top": self.top}

    def _table(self, rows: tables.Rows) -> Table:
        return Table.of(*rows, **self._settings)


def analysis_units(run: Run, top: float, seed: int = 0) -> list[Unit]:
    """Return every analysis for which a run has the results: correlations, overlaps, capacity, across tasks and shots.

    Args:
        run: The run.
        top: The share of highest heads whose overlap is measured.
        seed: Seed of resampling.
    """
    by_shots: dict[int, list[str]] = {}
    for name in filter(None, map(ResultName.parse, run.names)):
        if name.folder == "importance/heads" and name.setting is not None:
            by_shots.setdefault(name.setting.shots, []).append(name.setting.task)
    analyses = AnalysisUnits(run, top, seed, _n_layers(run))
    units: list[Unit] = []
    by_task: dict[str, list[int]] = {}
    for shots, names in sorted(by_shots.items()):
        tasks = [task for task in names if not Setting(task, shots).is_mean]
        units += analyses.of_shots(shots, tasks + (["mean"] if "mean" in names else []))
        for task in tasks:
            by_task.setdefault(task, []).append(shots)
    units += analyses.across_shots(by_task)
    there = set(run.names)
    return [unit for unit in units if there.issuperset(unit.needs)]


def derived_units(run: Run, n_layers: int) -> list[Unit]:
    """Return the units that follow from a run's importance: means over tasks, gradients compared with removal."""
    settings = [
        name.setting
        for name in filter(None, map(ResultName.parse, run.names))
        if name.folder == "importance/heads-oracle"
        and name.setting is not None
        and not name.setting.is_mean
        and str(ResultName.importance("heads", name.setting)) in run
    ]
    units = mean_units(run)
    if settings:
        units.append(AnalysisUnits(run, top=0.3, seed=0, n_layers=n_layers).gradients_and_oracle(settings))
    return units


def _importance(part: str, shots: int, tasks: Sequence[str]) -> dict[str, str]:
    """The names of tasks' importance, by task."""
    return {task: str(ResultName.importance(part, Setting(task, shots))) for task in tasks}


def _n_layers(run: Run) -> int:
    sizes: Mapping[str, int] = run.manifest["model"].get("sizes", {})
    return int(sizes.get("n_layers", 0))
