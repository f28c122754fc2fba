"""Evaluations of claims about the layers in which importance and induction heads are."""

from collections.abc import Callable, Mapping, Sequence
from math import isnan
from statistics import fmean
from typing import Any

from headcount.results import ResultName
from headcount.results.internal import shown_error, with_error
from headcount.study.claims.results import StudyResults
from headcount.study.claims.verdict import Evaluation, above, spread_of_mean, undecided


def concentrated(measure: str, low: float, high: float) -> Callable[[StudyResults], Evaluation]:
    """Return the evaluation of layers between two relative depths: they hold more of a score than their share.

    Their share is that of the heads: in hybrid models some layers have none.
    """

    def evaluate(study: StudyResults) -> Evaluation:
        pairs = _shares(study.rows(ResultName.analysis("layers")), measure, low, high)
        if not pairs:
            return undecided(f"no {measure.replace('_', ' ')} was measured")
        shares, expected = [share for share, _ in pairs], pairs[0][1]
        if expected == 0:
            return undecided("the model has no layer with a score there")
        share, error = fmean(shares), spread_of_mean(shares)
        percent = with_error(100 * share, shown_error(100 * error, len(shares)), 0)
        evidence = (
            f"{percent} % of what is above 0 lies in these layers, which are "
            f"{100 * expected:.0f} % of all (mean over {len(shares)} maps)"
        )
        # There is one map of induction scores, whose errors over sequences are small.
        return Evaluation(above(share, 0.0 if isnan(error) else error, expected), evidence)

    return evaluate


def _shares(rows: Sequence[Mapping[str, Any]], measure: str, low: float, high: float) -> list[tuple[float, float]]:
    """For each map of a measure, the share of its layers between two depths, and their number as a share of all.

    A layer without a score, one that has no heads, counts for the depth alone.
    """
    maps: dict[tuple[Any, Any], list[Mapping[str, Any]]] = {}
    for row in rows:
        if row["measure"] == measure:
            maps.setdefault((row["task"], row["shots"]), []).append(row)
    pairs = []
    for layers in maps.values():
        inside = [low <= (layer + 0.5) / len(layers) <= high for layer in range(len(layers))]
        scored = [row["share"] is not None for row in layers]
        both = [is_inside and has_score for is_inside, has_score in zip(inside, scored, strict=True)]
        within = sum(row["share"] for row, counts in zip(layers, both, strict=True) if counts)
        if any(scored):
            pairs.append((within, sum(both) / sum(scored)))
    return pairs
