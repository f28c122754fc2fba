"""Units of work that compare what was measured; each leaves a tidy table."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from itertools import combinations, product
from typing import Any

from headcount.progress import Progress
from headcount.results import Capacity, CorrelationMatrix, HeadScores, InputError, LayerScores, Run, ShotPair, Table
from headcount.stats import compare
from headcount.study.measure import AGGREGATES, aggregate_units, scores_of
from headcount.study.units import ImpossibleError, Unit

Scores = HeadScores | LayerScores
Records = Iterable[Mapping[str, Any]]

KINDS = (("spearman", None), ("spearman", "layer"), ("argsort", None))
"""Rank correlations: the real one, the same within layers, and what the published code computes."""

INDUCTION = ("prefix_matching", "copying", "copying_published")
POINTS = 100
"""Numbers of removed heads at which retained capacity is kept, where there are more heads than that."""


class Analyses:
    """Makes the units that compare the results of one run.

    Args:
        run: The run.
        top: The share of highest heads whose overlap is measured.
        seed: Seed of resampling.
        n_layers: The model's layers; fewer than three cannot be ranked.
    """

    def __init__(self, run: Run, top: float, seed: int, n_layers: int) -> None:
        self.run, self.top, self.seed, self.n_layers = run, top, seed, n_layers

    def of_shots(self, shots: int, tasks: Sequence[str]) -> list[Unit]:
        """What can be said of some tasks at one number of shots."""
        heads = {task: f"importance/heads/{task}.{shots}shot" for task in tasks}
        ffns = {task: f"importance/ffns/{task}.{shots}shot" for task in tasks}
        units = [
            self._unit(f"analyses/heads/reliability.{shots}shot", heads, self._reliability),
            *self._agreements(shots, heads),
        ]
        if len(tasks) > 1:
            units += [
                self._unit(f"analyses/heads/correlations.{shots}shot", heads, self._correlations),
                self._unit(f"analyses/heads/overlaps.{shots}shot", heads, self._overlaps),
                self._unit(f"analyses/heads/order.{shots}shot", heads, self._order),
            ]
        if len(tasks) > 1 and self.n_layers >= compare.FEWEST:
            units.append(self._unit(f"analyses/ffns/correlations.{shots}shot", ffns, self._ffn_correlations))
        return units

    def across_shots(self, tasks: Mapping[str, Sequence[int]]) -> list[Unit]:
        """How far the same task ranks heads alike with more solved examples.

        Args:
            tasks: At which numbers of shots each task was measured.
        """
        several = {task: shots for task, shots in tasks.items() if len(shots) > 1}
        if not several:
            return []
        needs = {f"{task}.{n}": f"importance/heads/{task}.{n}shot" for task, shots in several.items() for n in shots}

        def measure(progress: Progress) -> tuple[Table, Table]:
            pairs = self._shot_pairs({short: scores_of(self.run, full) for short, full in needs.items()})
            return self._table(_across_shots(pairs)), self._table(_means_across_shots(pairs))

        names = ("analyses/heads/across_shots", "analyses/heads/across_shots_summary")
        return [Unit("rankings across shots", names, self._asked, 0, measure, tuple(needs.values()))]

    def layers(self, names: Sequence[str]) -> Unit:
        """Where every score sits by depth."""
        return self._unit("analyses/layers", {name: name for name in names}, self._layers)

    def gradient_and_oracle(self, settings: Sequence[str]) -> Unit:
        """How far gradients rank heads as removing them does."""
        needs = {
            f"{kind}/{name}": f"importance/{kind}/{name}" for name in settings for kind in ("heads", "heads-oracle")
        }
        return self._unit("analyses/gradient_and_oracle", needs, self._gradient_and_oracle)

    def _agreements(self, shots: int, heads: Mapping[str, str]) -> list[Unit]:
        scores = {name: f"induction/{name}" for name in INDUCTION}
        units = [self._unit(f"analyses/agreement.{shots}shot", {**scores, **heads}, self._agreement)]
        for score in ("prefix_matching", "copying"):
            for task, name in heads.items():
                needs = {"score": f"induction/{score}", "order": name}
                units.append(self._unit(f"analyses/capacity/{score}.{task}.{shots}shot", needs, self._capacity))
        return units

    def _unit(
        self, name: str, needs: Mapping[str, str], analyse: Callable[[dict[str, Scores]], tuple[Records, str]]
    ) -> Unit:
        def measure(progress: Progress) -> tuple[Table]:
            found = {short: scores_of(self.run, full) for short, full in needs.items()}
            try:
                return (self._table(analyse(found)),)
            except InputError as error:  # too little was measured: scores may be NaN
                raise ImpossibleError(str(error)) from error

        return Unit(name, (name,), self._asked, 0, measure, tuple(needs.values()))

    @property
    def _asked(self) -> dict[str, Any]:
        return {"seed": self.seed, "top": self.top}

    def _table(self, said: tuple[Records, str]) -> Table:
        return Table.of(*said, **self._asked)

    def _correlations(self, found: dict[str, Scores]) -> tuple[Records, str]:
        matrices = [compare.matrix(found, variant=v, within=w, seed=self.seed) for v, w in KINDS]  # type: ignore[arg-type]
        records = [record for matrix in matrices for record in _pairs(matrix)]
        return records, "Rank correlation of every two tasks' head importance; argsort is what the published code does"

    def _ffn_correlations(self, found: dict[str, Scores]) -> tuple[Records, str]:
        matrix = compare.matrix(found, seed=self.seed)
        return _pairs(matrix), "Rank correlation of every two tasks' FFN importance"

    def _order(self, found: dict[str, Scores]) -> tuple[Records, str]:
        tasks = {task: scores for task, scores in found.items() if task != "mean"}
        order = compare.clusters(compare.matrix(tasks, resamples=0)).order
        records = [{"place": place, "task": task} for place, task in enumerate(order)]
        return records, "Tasks in the order of average-linkage clusters at distance 1 - rho"

    def _overlaps(self, found: dict[str, Scores]) -> tuple[Records, str]:
        records = []
        for a, b in combinations(found, 2):
            overlap = asdict(compare.overlap(found[a], found[b], self.top, resamples=200, seed=self.seed))
            records.append({"a": a, "b": b, **overlap})
        return records, "The share of the highest heads that two tasks have in common"

    def _reliability(self, found: dict[str, Scores]) -> tuple[Records, str]:
        records = [
            {"task": task, **asdict(compare.reliability(scores, seed=self.seed))} for task, scores in found.items()
        ]
        return records, "Rank correlation between two halves of the examples; corrected for half the number"

    def _agreement(self, found: dict[str, Scores]) -> tuple[Records, str]:
        records = []
        for task, score in product([task for task in found if task not in INDUCTION], INDUCTION):
            rho = asdict(compare.spearman(found[score], found[task], resamples=200, seed=self.seed))
            shared = compare.overlap(found[score], found[task], self.top, resamples=200, seed=self.seed)
            overlap = {
                "overlap": shared.fraction,
                "overlap_chance": shared.chance,
                "overlap_low": shared.low,
                "overlap_high": shared.high,
            }
            records.append({"task": task, "score": score, **rho, **overlap})
        return records, "Rank correlation and overlap of induction scores with head importance"

    def _capacity(self, found: dict[str, Scores]) -> tuple[Records, str]:
        capacity = compare.capacity(found["score"], found["order"], resamples=200, seed=self.seed)
        return _points(capacity), "Percent of the score's sum that remains as the least important heads go"

    def _shot_pairs(self, found: dict[str, Scores]) -> list[ShotPair]:
        by_shots: dict[int, dict[str, Scores]] = {}
        for name, scores in found.items():
            task, shots = name.rsplit(".", 1)
            by_shots.setdefault(int(shots), {})[task] = scores
        return [
            pair
            for variant, within in KINDS
            for pair in compare.across_shots(by_shots, variant=variant, within=within, seed=self.seed)  # type: ignore[arg-type]
        ]

    def _layers(self, found: dict[str, Scores]) -> tuple[Records, str]:
        return [row for name, scores in found.items() for row in _by_layer(name, scores)], (
            "Mean score over the heads of each layer, and each layer's share of the sum of what is above 0"
        )

    def _gradient_and_oracle(self, found: dict[str, Scores]) -> tuple[Records, str]:
        records = []
        for name in dict.fromkeys(name.split("/", 1)[1] for name in found):
            gradient, oracle = found[f"heads/{name}"], found[f"heads-oracle/{name}"]
            for within in (None, "layer"):
                rho = compare.spearman(gradient, oracle, within=within, seed=self.seed)
                shared = compare.overlap(gradient, oracle, self.top, within=within, seed=self.seed)
                numbers = {"overlap": shared.fraction, "overlap_chance": shared.chance}
                records.append({"setting": name, **asdict(rho), **numbers})
        return records, "Gradient head importance against the drop of the gold log-probability without each head"


def following_units(run: Run, n_layers: int) -> list[Unit]:
    """What follows from the importance that a run has: means over tasks, and gradients against removal."""
    both = [
        name.removeprefix("importance/heads-oracle/")
        for name in run.names
        if name.startswith("importance/heads-oracle/") and name.replace("heads-oracle", "heads") in run
    ]
    settings = [name for name in both if name.rsplit(".", 1)[0] not in AGGREGATES]
    units = aggregate_units(run)
    if settings:
        units.append(Analyses(run, top=0.3, seed=0, n_layers=n_layers).gradient_and_oracle(settings))
    return units


def _across_shots(pairs: Sequence[ShotPair]) -> tuple[Records, str]:
    records = [
        {"task": task, "shots_a": pair.shots[0], "shots_b": pair.shots[1], **asdict(one)}
        for pair in pairs
        for task, one in pair.tasks.items()
    ]
    return records, "Rank correlation of a task's head importance at two numbers of shots"


def _means_across_shots(pairs: Sequence[ShotPair]) -> tuple[Records, str]:
    records = []
    for pair in pairs:
        first = next(iter(pair.tasks.values()))
        kind = {"variant": first.variant, "within": first.within}
        numbers = {"mean": pair.mean, "variance": pair.variance, "n": pair.n}
        records.append({"shots_a": pair.shots[0], "shots_b": pair.shots[1], **numbers, **kind})
    return records, "Mean and variance over tasks of the rank correlations across shots"


def _pairs(matrix: CorrelationMatrix) -> list[dict[str, Any]]:
    numbers = ("rho", "p_value", "low", "high", "null_mean", "null_low", "null_high", "null_p", "ceiling")
    shared = {"n": matrix.n, "variant": matrix.variant, "within": matrix.within}
    return [
        {
            "a": matrix.names[i],
            "b": matrix.names[j],
            **{name: getattr(matrix, name)[i][j] for name in numbers},
            **shared,
        }
        for i, j in combinations(range(len(matrix.names)), 2)
    ]


def _points(capacity: Capacity) -> list[dict[str, Any]]:
    last = len(capacity.curve) - 1
    some = range(POINTS + 1) if last > 3 * POINTS else range(last + 1)
    places = [round(last * step / (len(some) - 1)) for step in some]
    names = ("low", "high", "null_mean", "null_low", "null_high")
    return [
        {"removed": at, "retained": capacity.curve[at], **{name: getattr(capacity, name)[at] for name in names}}
        for at in places
    ]


def _by_layer(name: str, scores: Scores) -> list[dict[str, Any]]:
    """A result's rows; its task and shots, or which induction score it is, are in its name."""
    last = name.rsplit("/", 1)[1]
    task, shots = last.rsplit(".", 1) if last.endswith("shot") else ("", "")
    means = compare.by_layer(scores)
    stderr = [None] * len(means.values) if means.stderr is None else means.stderr.tolist()
    sums = scores.values.clamp(min=0).reshape(len(means.values), -1).nansum(1)
    shares = (sums / sums.sum()).tolist() if sums.sum() > 0 else [None] * len(sums)
    rows = zip(means.values.tolist(), stderr, shares, strict=True)
    return [
        {
            "measure": scores.measure if task else last,
            "task": task,
            "shots": int(shots.removesuffix("shot")) if shots else None,
            "layer": layer,
            "value": value,
            "stderr": error,
            "share": share,
        }
        for layer, (value, error, share) in enumerate(rows)
    ]
