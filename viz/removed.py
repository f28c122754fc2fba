"""The report's views of what removal costs: curves along every ranking, and heads and FFNs together."""

import re
from collections.abc import Mapping
from math import isnan

from results import PruningCurve, PruningGrid, Result
from viz import words
from viz.contents import Setting
from viz.pruning import PARTS, pruning_curve, pruning_grid
from viz.views import View, matched

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
    "No verdict: at chance. The whole model does not exceed guessing and the most frequent answer by two standard "
    "errors, so what removal costs cannot be told."
)


def curves(everything: Mapping[str, Result]) -> list[View]:
    """For each task, number of shots and kind of part, the curves along all rankings."""
    groups: dict[tuple[Setting, str], dict[str, PruningCurve]] = {}
    for match, curve in matched(everything, CURVE, PruningCurve):
        setting = Setting(match["task"], int(match["shots"]))
        if match["ranking"] in RANKINGS:
            groups.setdefault((setting, match["part"]), {})[match["ranking"]] = curve
    return [_curves(*key, groups[key]) for key in sorted(groups, key=lambda key: (key[0].order, key[1] != "heads"))]


def _curves(setting: Setting, part: str, found: Mapping[str, PruningCurve]) -> View:
    named = {said: found[ranking] for ranking, said in RANKINGS.items() if ranking in found}
    first = next(iter(named.values()))
    columns = ("ranked by", "% removed", f"{PARTS[part]} removed", "parameters", "accuracy", "drop", "log p lost, nats")
    return View(
        f"{setting.title}: {PARTS[part]}",
        pruning_curve(named, title=""),
        f"Accuracy, drop and loss of gold log-probability ± standard error, n = {first.n}",
        columns,
        [row for name, curve in named.items() for row in _rows(name, curve)],
        "" if _beats_guessing(first) else AT_CHANCE,
    )


def _rows(name: str, curve: PruningCurve) -> list[list[str]]:
    """One row a step; the accuracy of several orders comes with their spread, all else with standard errors."""
    several = len(curve.seeds) > 1
    lost, lost_stderr = curve.lost_log_p
    errors = curve.spread if several else curve.stderr
    return [
        [
            f"{name} ({len(curve.seeds)}; accuracy ± spread)" if several else name,
            f"{percent:g}",
            str(curve.removed[step]),
            words.amount(curve.parameters[step]),
            words.measured(float(curve.value[step]), float(errors[step])),
            words.measured(float(curve.drop[step]), float(curve.drop_stderr[step])),
            words.measured(float(lost[step]), float(lost_stderr[step])),
        ]
        for step, percent in enumerate(curve.percents)
    ]


def _beats_guessing(curve: PruningCurve | PruningGrid) -> bool:
    value, error = float(curve.value.flatten()[0]), float(curve.stderr.flatten()[0])
    return value - 2 * error > max(one for one in (curve.chance, curve.majority, 0.0) if not isnan(one))


def grids(everything: Mapping[str, Result]) -> list[View]:
    """The combined grid of each task and number of shots."""
    return [
        View(
            Setting(match["task"], int(match["shots"])).title,
            pruning_grid(grid, title=""),
            f"Drop in accuracy ± standard error, n = {grid.n}: FFNs down, heads across",
            ["FFNs removed, %", *(f"{percent:g} % of heads" for percent in grid.head_percents)],
            [
                [f"{ffn:g}", *(words.measured(float(d), float(e)) for d, e in zip(drops, errors, strict=True))]
                for ffn, drops, errors in zip(grid.ffn_percents, grid.drop, grid.drop_stderr, strict=True)
            ],
            "" if _beats_guessing(grid) else AT_CHANCE,
        )
        for match, grid in matched(everything, GRID, PruningGrid)
    ]
