"""The heads and FFNs that can go: the curves of all tasks above chance, and the shares that can be removed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from headcount.results import PruningCurve, ResultName, Setting
from headcount.results.internal import ZERO
from headcount.viz import number_format
from headcount.viz.contents import Contents
from headcount.viz.figures.overview.removal import removal_overview
from headcount.viz.figures.pruning import PARTS
from headcount.viz.html_report.analysis_tables import results_at_shots
from headcount.viz.html_report.overview.evidence import margin
from headcount.viz.html_report.sections.pruning import accuracy_text
from headcount.viz.html_report.views import View

SHOWN = ("heads", "ffns")
Curves = Mapping[Setting, PruningCurve]


@dataclass(frozen=True, eq=False)
class Removal:
    """The accuracy of all tasks above chance as heads and FFNs go.

    Attributes:
        own: For heads and FFNs the curve along each task's own ranking, the task furthest above chance first.
        random: The curves of the same tasks along random orders.
    """

    own: Mapping[str, Curves]
    random: Mapping[str, Curves]

    @property
    def views(self) -> list[View]:
        """The figure of all tasks for heads, and for FFNs."""
        return [self._view(part) for part in SHOWN if self.own[part]]

    def slider(self, contents: Contents) -> list[dict[str, object]]:
        """Return for each task with a map of importance the steps of its curve: shares, heads gone, and accuracy."""
        return [
            {
                "name": str(setting),
                "title": setting.title,
                "percents": list(curve.percents),
                "removed": list(curve.removed),
                "accuracy": [accuracy_text(curve, percent) for percent in curve.percents],
                "guess": number_format.decimal(curve.chance),
            }
            for setting, curve in self.own["heads"].items()
            if setting in contents.heads and curve.strategy == "static"
        ]

    def _view(self, part: str) -> View:
        own, random = self.own[part], self.random[part]
        figure = removal_overview(_titled(own), _titled(random), title="")
        percents = sorted({percent for curve in own.values() for percent in curve.percents})
        rows = [[setting.title, *(accuracy_text(curve, step) for step in percents)] for setting, curve in own.items()]
        columns = ("task", *(f"{percent:g} %" for percent in percents))
        return View(PARTS[part], figure, f"Accuracy ± standard error without so many {PARTS[part]}", columns, rows)


def removal(contents: Contents) -> Removal:
    """Collect the curves along a task's own ranking, and along random orders, by zero ablation."""
    own: dict[str, dict[Setting, PruningCurve]] = {part: {} for part in SHOWN}
    random: dict[str, dict[Setting, PruningCurve]] = {part: {} for part in SHOWN}
    for name, _, curve in results_at_shots(contents.results, PruningCurve):
        if name.setting is None or curve.component not in SHOWN or not curve.beats_guessing:
            continue
        for ranking, curves in (("own", own), ("random", random)):
            if name == ResultName.curve(curve.component, name.setting, ranking, ZERO):
                curves[curve.component][name.setting] = curve
    return Removal(
        {part: dict(sorted(curves.items(), key=lambda pair: -margin(pair[1]))) for part, curves in own.items()},
        {part: {setting: random[part][setting] for setting in own[part] if setting in random[part]} for part in SHOWN},
    )


def _titled(curves: Curves) -> dict[str, PruningCurve]:
    return {setting.title: curve for setting, curve in curves.items()}
