"""The share of heads, and of FFNs, that can be removed before accuracy falls."""

from collections.abc import Mapping
from dataclasses import dataclass

from headcount.results import PruningCurve, Result
from headcount.viz import number_format
from headcount.viz.figures.pruning import PARTS
from headcount.viz.html_report.analysis_tables import results_at_shots
from headcount.viz.html_report.sections.pruning import accuracy_text


@dataclass(frozen=True)
class RemovableShare:
    """The share of one kind of part that can be removed, least important first, before accuracy drops measurably.

    Attributes:
        part: `"heads"` or `"FFNs"`.
        rows: Each task and number of shots above chance, the share in percent, the accuracy of the whole model, and
            chance; the smallest share first.
    """

    part: str
    rows: tuple[tuple[str, ...], ...]

    @property
    def median(self) -> str:
        """The share, in percent, that can be removed on at least half of them."""
        return self.rows[len(self.rows) // 2][1]


def removable_shares(results: Mapping[str, Result]) -> list[RemovableShare]:
    """Return, for heads and FFNs, the last step before accuracy falls below the whole model's.

    Falling is by more than two paired standard errors, along a task's own ranking. Tasks on which the whole model is at
    chance are left out: their accuracy cannot fall.
    """
    by_part: dict[str, list[tuple[float, str, PruningCurve]]] = {part: [] for part in PARTS}
    for name, _, curve in results_at_shots(results, PruningCurve):
        if name.setting is not None and name.ranking == "own" and curve.beats_guessing:
            by_part[curve.component].append((_removable(curve), name.setting.title, curve))
    return [
        _removable_share(PARTS[part], sorted(curves, key=lambda curve: curve[:2]))
        for part, curves in by_part.items()
        if curves
    ]


def _removable(curve: PruningCurve) -> float:
    worse = (curve.drop - 2 * curve.drop_stderr > 0).tolist()
    return max(percent for step, percent in enumerate(curve.percents) if not any(worse[: step + 1]))


def _removable_share(part: str, curves: list[tuple[float, str, PruningCurve]]) -> RemovableShare:
    rows = tuple(
        (title, f"{percent:g}", accuracy_text(curve, 0), number_format.decimal(curve.chance))
        for percent, title, curve in curves
    )
    return RemovableShare(part, rows)
