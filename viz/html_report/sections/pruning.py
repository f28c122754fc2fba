"""The sections on accuracy as parts are removed: curves along every ranking, and heads and FFNs together."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from headcount.results import PruningCurve, PruningGrid, Result, ResultName, Setting
from headcount.viz import number_format
from headcount.viz.figures.pruning import PARTS, pruning_curve, pruning_grid
from headcount.viz.html_report.analysis_tables import results_at_shots
from headcount.viz.html_report.views import Section, View
from headcount.viz.wording import ABLATIONS

RANKINGS = {
    "own": "its own importance",
    "mean": "the mean over tasks",
    "most": "the most correlated task",
    "least": "the least correlated task",
    "recomputed": "its own, ranked again at each step",
    "random": "random orders",
}
"""The rankings along which parts are removed, and their titles."""

AT_CHANCE = (
    "No verdict: not above chance. The whole model does not exceed guessing and the most frequent answer by two "
    "standard errors, so the cost of removal cannot be measured."
)
NO_CONTROL = "No random orders were removed, so this figure does not show if a ranking is better than chance."


def curves(results: Mapping[str, Result]) -> Section:
    """Make the section with the curves of each task, number of shots and kind of part."""
    groups: dict[tuple[Setting, str, str], dict[str, PruningCurve]] = {}
    for name, _, curve in results_at_shots(results, PruningCurve):
        if name.setting is not None and name.ranking in RANKINGS:
            groups.setdefault((name.setting, curve.component, name.ablation), {})[name.ranking] = curve
    order = sorted(groups, key=lambda group: (group[0].order, [*PARTS].index(group[1]), [*ABLATIONS].index(group[2])))
    return Section(
        "pruning",
        "Removing parts",
        intro="Accuracy as the least important heads, feed-forward networks (FFNs) or other parts are removed, "
        "compared with removing random ones. Their outputs become zero, unless a title names other values.",
        reading="A ranking is informative where its curve stays above that of random orders. Bands are one standard "
        "error over documents; for random orders, the spread over orders if that is larger.",
        caveat="The documents are the same at every step, so neighbouring points move together. Another order may do "
        "better.",
        views=[_curve_view(*group, groups[group]) for group in order],
    )


def grids(results: Mapping[str, Result]) -> Section:
    """Make the section with the grid of each task and number of shots."""
    matches = [
        (name.setting, name.ablation, grid)
        for name, _, grid in results_at_shots(results, PruningGrid)
        if name.setting is not None and name == ResultName.grid(name.setting, name.ablation)
    ]
    return Section(
        "grid",
        "Removing both",
        intro="Accuracy as heads and FFNs are removed together, each along the task's own ranking.",
        reading="The whole model is in the lower left corner. A star marks an accuracy below it by more than two "
        "paired standard errors.",
        caveat="On few documents a cell without a star may still have lost accuracy.",
        views=[_grid_view(*match) for match in matches],
    )


def accuracy_text(curve: PruningCurve, percent: float) -> str:
    """Return the accuracy at a share removed, with its standard error, or its spread over several orders.

    Args:
        curve: The curve.
        percent: The share removed; the text is empty if the curve has no such step.
    """
    if percent not in curve.percents:
        return ""
    step = curve.percents.index(percent)
    errors, n = (curve.spread, len(curve.seeds)) if len(curve.seeds) > 1 else (curve.stderr, curve.n)
    return _with_error(curve.value[step], errors[step], n)


def _with_error(value: Tensor, stderr: Tensor, n: int) -> str:
    return number_format.with_error(float(value), number_format.shown_error(float(stderr), n))


def _curve_view(setting: Setting, part: str, ablation: str, by_ranking: Mapping[str, PruningCurve]) -> View:
    named = {title: by_ranking[ranking] for ranking, title in RANKINGS.items() if ranking in by_ranking}
    (first_name, first), *further = named.items()
    headings = [
        f"by {name}{f' ({orders}, ± spread)' if (orders := len(curve.seeds)) > 1 else ''}" for name, curve in further
    ]
    notes = ["" if first.beats_guessing else AT_CHANCE, "" if "random" in by_ranking else NO_CONTROL]
    return View(
        f"{setting.title}: {PARTS[part]}{ABLATIONS[ablation]}",
        pruning_curve(named, title=""),
        f"Accuracy ± standard error by {first_name}, n = {first.n}; then the accuracy by other rankings",
        ("% removed", f"{PARTS[part]} removed", "parameters", "accuracy", "drop", "log p lost, nats", *headings),
        _curve_rows(list(named.values())),
        " ".join(filter(None, notes)),
    )


def _curve_rows(curves: Sequence[PruningCurve]) -> list[list[str]]:
    """Return one row for each share that any curve removes: the first curve in full, then the others' accuracy."""
    first, *further = curves
    percents = sorted({percent for curve in curves for percent in curve.percents})
    return [
        [
            f"{percent:g}",
            *_first_curve_cells(first, curves, percent),
            *(accuracy_text(curve, percent) for curve in further),
        ]
        for percent in percents
    ]


def _first_curve_cells(curve: PruningCurve, curves: Sequence[PruningCurve], percent: float) -> list[str]:
    """Return the number of parts removed and, if the curve has the step, the accuracy and what is lost."""
    if percent not in curve.percents:
        removed = {other.removed[other.percents.index(percent)] for other in curves if percent in other.percents}
        return [str(max(removed)), "", "", "", ""]
    step = curve.percents.index(percent)
    lost, lost_stderr = curve.lost_log_p
    return [
        str(curve.removed[step]),
        number_format.amount(curve.parameters[step]),
        accuracy_text(curve, percent),
        _with_error(curve.drop[step], curve.drop_stderr[step], curve.n),
        _with_error(lost[step], lost_stderr[step], curve.n),
    ]


def _grid_view(setting: Setting, ablation: str, grid: PruningGrid) -> View:
    return View(
        f"{setting.title}{ABLATIONS[ablation]}",
        pruning_grid(grid, title=""),
        f"Drop in accuracy ± standard error, n = {grid.n}: FFNs down, heads across",
        ["FFNs removed, %", *(f"{percent:g} % of heads" for percent in grid.head_percents)],
        [
            [f"{percent:g}", *number_format.value_texts(drops, errors if grid.n > 2 else None)]
            for percent, drops, errors in zip(grid.ffn_percents, grid.drop, grid.drop_stderr, strict=True)
        ],
        "" if grid.beats_guessing else AT_CHANCE,
    )
