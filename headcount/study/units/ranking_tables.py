"""Rankings of heads judged by what is left as the last of each go: areas, faithfulness, and the paper's headline."""

from collections.abc import Mapping
from math import inf, isnan, nan
from typing import Any

from headcount.results import InputError, PruningCurve
from headcount.stats import compare

MEASURES = {"accuracy": "correct", "exact_match": "greedy", "log_p": "gold_log_p"}
SHARE = 70.0
"""The share of heads that the paper removes with minimal decline."""
MINIMAL = 0.05
"""The fall of accuracy up to which a decline counts as minimal."""

Rows = list[dict[str, Any]]


def areas(curves: Mapping[str, PruningCurve], published: str) -> Rows:
    """Return one row a ranking, the largest area under exact match first.

    Args:
        curves: Curves of one task by ranking; on the same documents, ending at 100 %.
        published: The ranking that the others are compared with.

    Returns:
        Columns: `ranking`; for `accuracy`, `exact_match` and `log_p` the area, its `_stderr`, and `_gain` over the
        published ranking with `_gain_stderr`, paired by document; `cpr` and `cmd` of the log-probability with the
        bounds of their intervals; the `fall` of accuracy at 70 % with its `_stderr`, and a `verdict` on the paper's
        headline.
    """
    rows = []
    for ranking, curve in curves.items():
        row: dict[str, Any] = {"ranking": ranking}
        for name, measure in MEASURES.items():
            gain = compare.area(curve, measure, minus=curves[published])  # type: ignore[arg-type]
            row[name], row[f"{name}_stderr"] = compare.area(curve, measure)  # type: ignore[arg-type]
            row[f"{name}_gain"], row[f"{name}_gain_stderr"] = gain
        rows.append(row | _faithfulness(curve) | _headline(curve))
    return sorted(rows, key=lambda row: tuple(_highest_first(row[name]) for name in ("exact_match", "log_p")))


def _highest_first(value: float) -> float:
    return inf if isnan(value) else -value


def _faithfulness(curve: PruningCurve) -> dict[str, float]:
    try:
        result = compare.faithfulness(curve)
    except InputError:  # the whole model is no better than none
        return dict.fromkeys(("cpr", "cpr_low", "cpr_high", "cmd", "cmd_low", "cmd_high"), nan)
    values = {"cpr": result.cpr, "cpr_low": result.cpr_interval[0], "cpr_high": result.cpr_interval[1]}
    return values | {"cmd": result.cmd, "cmd_low": result.cmd_interval[0], "cmd_high": result.cmd_interval[1]}


def _headline(curve: PruningCurve) -> dict[str, Any]:
    """Return the fall of accuracy at 70 %, and if it is a minimal decline, by its 95 % interval."""
    if SHARE not in curve.percents or not curve.beats_guessing:
        return {"fall": nan, "fall_stderr": nan, "verdict": "undecided"}
    step = curve.percents.index(SHARE)
    fall, stderr = float(curve.drop[step]), float(curve.drop_stderr[step])
    verdict = "holds" if fall + 2 * stderr <= MINIMAL else "fails" if fall - 2 * stderr > MINIMAL else "undecided"
    return {"fall": fall, "fall_stderr": stderr, "verdict": verdict}
