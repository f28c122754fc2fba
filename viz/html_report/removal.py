"""The report's views of what removal costs: curves along every ranking, and heads and FFNs together."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from headcount.results import PruningCurve, PruningGrid, Result
from headcount.viz import wording
from headcount.viz.contents import Setting
from headcount.viz.figures.pruning import PARTS, pruning_curve, pruning_grid
from headcount.viz.html_report.views import View, matched

CURVE = re.compile(r"pruning/(?P<part>heads|ffns)/(?P<task>.+)\.(?P<shots>\d+)shot\.(?P<ranking>\w+)")
GRID = re.compile(r"pruning/grid/(?P<task>.+)\.(?P<shots>\d+)shot")

RANKINGS = {
    "own": "its own importance",
    "mean": "the mean over tasks",
    "most": "the most correlated task",
    "least": "the least correlated task",
    "recomputed": "its own, ranked again at each step",
    "random": "random orders",
}
AT_CHANCE = (
    "No verdict: not above chance. The whole model does not exceed guessing and the most frequent answer by two "
    "standard errors, so what removal costs cannot be told."
)
NO_CONTROL = "No random orders were removed here: whether the rankings tell anything, this figure does not say."


def curves(everything: Mapping[str, Result]) -> list[View]:
    """For each task, number of shots and kind of part, the curves along all rankings."""
    groups: dict[tuple[Setting, str], dict[str, PruningCurve]] = {}
    for match, curve in matched(everything, CURVE, PruningCurve):
        setting = Setting(match["task"], int(match["shots"]))
        if match["ranking"] in RANKINGS:
            groups.setdefault((setting, match["part"]), {})[match["ranking"]] = curve
    return [_curves(*key, groups[key]) for key in sorted(groups, key=lambda key: (key[0].order, key[1] != "heads"))]


@dataclass(frozen=True)
class Reach:
    """How far parts of one kind can be removed along a task's own ranking without a loss that shows.

    Attributes:
        part: `"heads"` or `"FFNs"`.
        each: Every task and number of shots that the model can do, the share in percent that can go there, the
            accuracy of the whole model, and chance; the smallest share first.
    """

    part: str
    each: tuple[tuple[str, ...], ...]

    @property
    def middle(self) -> str:
        """The share, in percent, that at least half of them can do without."""
        return self.each[len(self.each) // 2][1]


def reaches(everything: Mapping[str, Result]) -> list[Reach]:
    """For heads and for FFNs, the last step before accuracy lies below the whole model's by two paired standard errors.

    Tasks that the whole model cannot do say nothing of it and are left out.
    """
    found: dict[str, list[tuple[float, str, PruningCurve]]] = {}
    for match, curve in matched(everything, CURVE, PruningCurve):
        if match["ranking"] == "own" and curve.beats_guessing:
            title = Setting(match["task"], int(match["shots"])).title
            found.setdefault(match["part"], []).append((_reach(curve), title, curve))
    return [_reached(part, sorted(found[part], key=lambda one: one[:2])) for part in PARTS if part in found]


def _reached(part: str, found: Sequence[tuple[float, str, PruningCurve]]) -> Reach:
    each = tuple(
        (title, f"{percent:g}", _accuracy(curve, 0), wording.number(curve.chance)) for percent, title, curve in found
    )
    return Reach(PARTS[part], each)


def _reach(curve: PruningCurve) -> float:
    worse = (curve.drop - 2 * curve.drop_stderr > 0).tolist()
    return max(percent for step, percent in enumerate(curve.percents) if not any(worse[: step + 1]))


def _curves(setting: Setting, part: str, found: Mapping[str, PruningCurve]) -> View:
    named = {said: found[ranking] for ranking, said in RANKINGS.items() if ranking in found}
    first = next(iter(named.values()))
    kept = f"{PARTS[part]} removed"
    others = [
        f"by {name}{f' ({orders}, ± spread)' if (orders := len(curve.seeds)) > 1 else ''}"
        for name, curve in list(named.items())[1:]
    ]
    notes = ["" if first.beats_guessing else AT_CHANCE, "" if "random" in found else NO_CONTROL]
    return View(
        f"{setting.title}: {PARTS[part]}",
        pruning_curve(named, title=""),
        f"Accuracy ± standard error by {next(iter(named))}, n = {first.n}; then the accuracy by other rankings",
        ("% removed", kept, "parameters", "accuracy", "drop", "log p lost, nats", *others),
        _rows(list(named.values())),
        " ".join(filter(None, notes)),
    )


def _rows(curves: Sequence[PruningCurve]) -> list[list[str]]:
    """One row for each share that any curve removes: all about the first curve, then the others' accuracy."""
    first, *others = curves
    percents = sorted({percent for curve in curves for percent in curve.percents})
    return [[f"{at:g}", *_first(first, curves, at), *(_accuracy(other, at) for other in others)] for at in percents]


def _first(curve: PruningCurve, curves: Sequence[PruningCurve], percent: float) -> list[str]:
    """How many parts go and, where the curve has the step, what that costs."""
    if percent not in curve.percents:
        removed = {one.removed[one.percents.index(percent)] for one in curves if percent in one.percents}
        return [str(max(removed)), "", "", "", ""]
    step = curve.percents.index(percent)
    lost, lost_stderr = curve.lost_log_p
    return [
        str(curve.removed[step]),
        wording.amount(curve.parameters[step]),
        _accuracy(curve, percent),
        wording.measured(float(curve.drop[step]), float(curve.drop_stderr[step])),
        wording.measured(float(lost[step]), float(lost_stderr[step])),
    ]


def _accuracy(curve: PruningCurve, percent: float) -> str:
    """With its standard error; that of several orders with their spread."""
    if percent not in curve.percents:
        return ""
    step = curve.percents.index(percent)
    errors = curve.spread if len(curve.seeds) > 1 else curve.stderr
    return wording.measured(float(curve.value[step]), float(errors[step]))


def grids(everything: Mapping[str, Result]) -> list[View]:
    """The combined grid of each task and number of shots."""
    return [
        View(
            Setting(match["task"], int(match["shots"])).title,
            pruning_grid(grid, title=""),
            f"Drop in accuracy ± standard error, n = {grid.n}: FFNs down, heads across",
            ["FFNs removed, %", *(f"{percent:g} % of heads" for percent in grid.head_percents)],
            [
                [f"{ffn:g}", *(wording.measured(float(d), float(e)) for d, e in zip(drops, errors, strict=True))]
                for ffn, drops, errors in zip(grid.ffn_percents, grid.drop, grid.drop_stderr, strict=True)
            ],
            "" if grid.beats_guessing else AT_CHANCE,
        )
        for match, grid in matched(everything, GRID, PruningGrid)
    ]
