"""The summary: the strongest and the most important heads, their overlap, and the share that can be removed."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import nan

from headcount.results import HeadScores, PruningCurve, Result, Setting
from headcount.viz import number_format, wording
from headcount.viz.contents import Contents
from headcount.viz.figures.pruning import PARTS
from headcount.viz.html_report.analysis_tables import results_at_shots
from headcount.viz.html_report.sections.control import THRESHOLD
from headcount.viz.html_report.sections.importance import FIRST
from headcount.viz.html_report.sections.pruning import accuracy_text
from headcount.viz.ranks import number_of_parts, ranks

NAMED = 4  # tasks whose most important head is named


@dataclass(frozen=True)
class TopHead:
    """The head with the highest score of one measure.

    Attributes:
        label: Its name, such as L18H6.
        score: Its score with standard error, as text.
        n: The number of sequences or examples.
        ranks: Its rank in each other measure, by that measure's title.
    """

    label: str
    score: str
    n: int
    ranks: Mapping[str, str]


@dataclass(frozen=True)
class TopOverlap:
    """The overlap of the most important heads and the highest heads of another measure.

    Attributes:
        setting: The setting of the importance.
        count: The number of heads that both have among their first.
        first: The number of heads of each that were compared.
        expected: The overlap to expect if importance is unrelated to the measure.
    """

    setting: Setting
    count: int
    first: int
    expected: float


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


def top_heads(maps: Mapping[str, HeadScores]) -> dict[str, TopHead]:
    """Return the highest head of each measure; measures without a single measured head are left out."""
    by_measure = {measure: ranks(scores) for measure, scores in maps.items()}
    top = {}
    for measure, scores in maps.items():
        for layer, head, value in scores.top(1):
            further = {
                wording.title_of(other): str(by_head.get((layer, head), number_format.MISSING))
                for other, by_head in by_measure.items()
                if other != measure
            }
            errors = number_format.shown_errors(scores)
            error = nan if errors is None else float(errors[layer, head])
            text = number_format.formatter(scores)(value, error)
            top[measure] = TopHead(scores.label(layer, head), text, scores.n, further)
    return top


def labels_above(scores: HeadScores) -> list[str]:
    """Return the names of the heads above the threshold, the highest first; at most the first few."""
    return [scores.label(*head) for *head, value in scores.top(FIRST) if value > THRESHOLD]


def most_important_heads(contents: Contents) -> list[tuple[Setting, TopHead]]:
    """Return the head with the highest importance for each of the first few tasks."""
    tasks = [(setting, scores) for setting, scores in contents.heads.items() if not setting.is_mean]
    top = [(setting, top_heads({"head_importance": scores})) for setting, scores in tasks[:NAMED]]
    return [(setting, by_measure["head_importance"]) for setting, by_measure in top if by_measure]


def overlap(contents: Contents, measure: str) -> TopOverlap | None:
    """Return the overlap of importance with a measure; None if either is missing.

    The importance is that of the mean over tasks if there is one, else of the first task.
    """
    scores = contents.maps.get(measure)
    settings = sorted(contents.heads, key=lambda setting: setting.task != "mean")  # stable: the first mean, or task
    if scores is None or not settings or not (total := number_of_parts(scores)):
        return None
    first = min(FIRST, total)
    important, highest = (
        {tuple(head) for *head, _ in top} for top in (contents.heads[settings[0]].top(first), scores.top(first))
    )
    return TopOverlap(settings[0], len(important & highest), first, first * first / total)


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
