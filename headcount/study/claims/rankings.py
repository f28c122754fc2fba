"""Evaluations of claims about rankings of heads: across tasks, across shots, and of induction heads."""

from collections.abc import Mapping, Sequence
from math import isnan, nan
from statistics import fmean
from typing import Any

from headcount.results import HeadScores, ResultName, Setting
from headcount.results.internal import with_error
from headcount.study.claims.results import StudyResults
from headcount.study.claims.verdict import (
    FEW,
    Evaluation,
    Verdict,
    above,
    all_above,
    spread_of_mean,
    undecided,
)


def correlated(study: StudyResults) -> Evaluation:
    """Evaluate the rankings of heads by different tasks: more alike than layers alone would make them."""
    pairs = [
        row
        for shots in study.tasks
        for row in study.rows(ResultName.analysis("heads/correlations", shots))
        if (row["variant"], row["within"]) == ("spearman", None) and "mean" not in (row["a"], row["b"])
    ]
    if not pairs:
        return undecided("needs two tasks at the same number of shots")
    return _beyond_layers(pairs, "pairs ")


def across_shots(study: StudyResults) -> Evaluation:
    """Evaluate a task's rankings of heads at different numbers of shots: more alike than layers alone would make."""
    rows = study.rows(ResultName.analysis("heads/across_shots"))
    rows = [row for row in rows if (row["variant"], row["within"]) == ("spearman", None)]
    if not rows:
        return undecided("needs a task at two numbers of shots")
    return _beyond_layers(rows, "")


def _beyond_layers(rows: Sequence[Mapping[str, Any]], noun: str) -> Evaluation:
    """Evaluate correlations of rankings: higher than rankings that agree in the layers alone would give."""
    rhos = [row["rho"] for row in rows]
    n_above = sum(row["rho"] > row["null_high"] for row in rows)
    evidence = (
        f"rho is {min(rhos):.2f} to {max(rhos):.2f}, mean {fmean(rhos):.2f}; {n_above} of {len(rows)} {noun}lie above "
        "what the layers alone would give"
    )
    return Evaluation(all_above(n_above, len(rows)), evidence)


def few_do_both(study: StudyResults) -> Evaluation:
    """Evaluate the number of heads that score high on both primitives: few."""
    prefix, copying = (study.get(ResultName.induction(score)) for score in ("prefix_matching", "copying"))
    if not isinstance(prefix, HeadScores) or not isinstance(copying, HeadScores):
        return undecided("induction scores are missing")
    matches, copies = prefix.values > 0.5, copying.values > 0.5
    both = int((matches & copies).sum())
    total = int((~prefix.values.isnan() & ~copying.values.isnan()).sum())  # in hybrid models not all layers have heads
    evidence = (
        f"{both} of {total} heads score above 0.5 in both, {int(matches.sum())} in prefix matching, "
        f"{int(copies.sum())} in copying"
    )
    if not matches.any() or not copies.any():
        return Evaluation("undecided", f"{evidence}: without heads in either, none in both says nothing")
    return Evaluation("holds" if both / total <= FEW else "does not hold", evidence)


def prefix_flat(study: StudyResults) -> Evaluation:
    """Evaluate the first removals of heads: prefix matching remains, and less of copying does."""
    pairs = []
    for shots in study.tasks:
        mean = Setting("mean", shots)
        retained = [_retained(study, score, mean, 0.2) for score in ("prefix_matching", "copying")]
        if None not in retained:
            pairs.append(retained)
    if not pairs:
        return undecided("needs a mean over tasks")
    prefix, copying = (fmean(column) for column in zip(*pairs, strict=True))
    evidence = (
        f"without the 20 % least important heads {prefix:.1f} % of prefix matching and {copying:.1f} % of copying "
        "remain"
    )
    return Evaluation("holds" if prefix >= 95 and copying < prefix else "does not hold", evidence)


def _retained(study: StudyResults, score: str, setting: Setting, share: float) -> float | None:
    """Percent of a score that is left without this share of heads."""
    rows = study.rows(ResultName.capacity(score, setting))
    if not rows:
        return None
    removed = share * max(row["removed"] for row in rows)
    return float(min(rows, key=lambda row: abs(row["removed"] - removed))["retained"])


def more_with_shots(study: StudyResults) -> Evaluation:
    """Evaluate few-shot rankings: more of prefix matching remains along them than along 0-shot rankings."""
    retained: dict[bool, list[float]] = {True: [], False: []}
    for setting in (Setting(task, shots) for shots, tasks in study.tasks.items() for task in tasks):
        rows = study.rows(ResultName.capacity("prefix_matching", setting))
        if rows:
            retained[setting.shots == 0].append(fmean(row["retained"] for row in rows))
    if not retained[True] or not retained[False]:
        return undecided("needs tasks at 0 shots and with shots")
    zero, few = fmean(retained[True]), fmean(retained[False])
    error = (spread_of_mean(retained[True]) ** 2 + spread_of_mean(retained[False]) ** 2) ** 0.5
    evidence = (
        f"in the mean over all removals {zero:.1f} % of prefix matching remains by 0-shot rankings, {few:.1f} % by "
        f"few-shot rankings (difference {with_error(few - zero, error, 1)})"
    )
    return Evaluation(above(few - zero, error, 0.0), evidence)


def tasks_differ(study: StudyResults) -> Evaluation:
    """Evaluate the agreement of importance with prefix matching: tasks that the model can do differ in it."""
    solved = set(study.solved())
    rows = [
        row | {"task": f"{row['task']} at {shots} shots"}
        for shots in study.tasks
        for row in study.rows(ResultName.analysis("agreement", shots))
        if row["score"] == "prefix_matching" and Setting(row["task"], shots) in solved and not isnan(row["low"])
    ]
    if len(rows) < 2:
        return undecided("needs two tasks that the model can do, with intervals")
    lowest, highest = min(rows, key=lambda row: row["rho"]), max(rows, key=lambda row: row["rho"])
    # Where both agree only as far as the layers alone would make them, their difference is none in reliance on heads.
    beyond = any(not row.get("null_low", nan) <= row["rho"] <= row.get("null_high", nan) for row in (lowest, highest))
    verdict: Verdict = "holds" if highest["low"] > lowest["high"] and beyond else "undecided"
    evidence = (
        f"importance agrees with prefix matching least on {lowest['task']} (rho {lowest['rho']:.2f}, 95 % "
        f"{lowest['low']:.2f} to {lowest['high']:.2f}) and most on {highest['task']} ({highest['rho']:.2f}, "
        f"{highest['low']:.2f} to {highest['high']:.2f})"
        f"{'' if beyond else '; both lie inside what the layers alone would give'}"
    )
    return Evaluation(verdict, evidence)
