"""Whether a claim of the paper holds on a model: a verdict, and the numbers behind it in a sentence.

A task that the model does no better on than chance or a constant answer, by two standard errors, gives no verdict.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isnan, nan
from statistics import fmean
from typing import Any, Literal

import torch
from torch import Tensor

from headcount.results import Accuracy, HeadScores, PruningCurve, PruningGrid, Table

TOLERANCE = 0.05
"""A decline of accuracy up to this is minimal."""

Verdict = Literal["holds", "does not hold", "undecided"]
Judgement = tuple[Verdict, str]


@dataclass(frozen=True)
class Findings:
    """What claims are judged by.

    Attributes:
        results: Every result of the run, by name.
        settings: Tasks by number of shots.
        unseen: The tasks that the means are not over.
    """

    results: Mapping[str, Any]
    settings: Mapping[int, Sequence[str]]
    unseen: Sequence[str]

    def able(self) -> list[str]:
        """The settings, such as `piqa.0shot`, on which the model beats chance and the best constant answer."""
        names = [f"{task}.{shots}shot" for shots, tasks in self.settings.items() for task in tasks]
        found = {name: self.results.get(f"accuracy/{name}") for name in names}
        return [name for name, accuracy in found.items() if isinstance(accuracy, Accuracy) and accuracy.beats_guessing]

    def curves(self, component: str, ranking: str) -> dict[str, PruningCurve]:
        """The curves of tasks that the model can do."""
        found = {name: self.results.get(f"pruning/{component}/{name}.{ranking}") for name in self.able()}
        return {name: curve for name, curve in found.items() if isinstance(curve, PruningCurve)}

    def rows(self, name: str) -> list[dict[str, Any]]:
        """The rows of a table; none where it is missing."""
        table = self.results.get(name)
        return table.records() if isinstance(table, Table) else []


def removable(component: str, percent: float) -> Callable[[Findings], Judgement]:
    """Whether so many parts can go, by a task's own ranking, with minimal decline of the mean accuracy."""

    def judge(findings: Findings) -> Judgement:
        curves = findings.curves(component, "own")
        at = {name: curve.percents.index(percent) for name, curve in curves.items() if percent in curve.percents}
        if not at:
            return _unknown(f"no task that the model can do was pruned to {percent:g} %")
        drop = fmean(float(curves[name].drop[step]) for name, step in at.items())
        error = _mean_error(float(curves[name].drop_stderr[step]) for name, step in at.items())
        return _at_most(drop, error, TOLERANCE), (
            f"accuracy falls by {drop:.3f} ± {error:.3f} in the mean over {len(at)} settings ({_listed(at)})"
        )

    return judge


def better_than_random(component: str) -> Callable[[Findings], Judgement]:
    """Whether removing by importance hurts less than removing as many at random."""

    def judge(findings: Findings) -> Judgement:
        own, random = findings.curves(component, "own"), findings.curves(component, "random")
        gains, errors, names = [], [], []
        for name in own.keys() & random.keys():
            for difference in _differences(own[name], random[name]):
                gains.append(float(difference.mean()))
                errors.append(float(difference.std() / len(difference) ** 0.5))
                names.append(name)
        if not gains:
            return _unknown("no task that the model can do has both curves")
        # The same documents stand behind every percent: their errors do not shrink by averaging over percents.
        gain, error = fmean(gains), fmean(errors) / len(set(names)) ** 0.5
        return _above(gain, error, 0.0), (
            f"accuracy is higher by {gain:.3f} ± {error:.3f} than after random removal, in the mean over "
            f"{len(set(names))} settings ({_listed(set(names))}) and their percents"
        )

    return judge


def combined(findings: Findings) -> Judgement:
    """Whether 20 % of FFNs and 70 % of heads can go together with minimal decline."""
    grids = {name: findings.results.get(f"pruning/grid/{name}") for name in findings.able()}
    found = {name: grid for name, grid in grids.items() if isinstance(grid, PruningGrid)}
    at = {
        name: (grid.ffn_percents.index(20.0), grid.head_percents.index(70.0))
        for name, grid in found.items()
        if 20.0 in grid.ffn_percents and 70.0 in grid.head_percents
    }
    if not at:
        return _unknown("no grid of a task that the model can do")
    drop = fmean(float(found[name].drop[place]) for name, place in at.items())
    error = _mean_error(float(found[name].drop_stderr[place]) for name, place in at.items())
    return _at_most(drop, error, TOLERANCE), (
        f"with 20 % of FFNs and 70 % of heads gone, accuracy falls by {drop:.3f} ± {error:.3f} in the mean over "
        f"{_listed(at)}"
    )


def concentrated(measure: str, low: float, high: float) -> Callable[[Findings], Judgement]:
    """Whether layers between two relative depths hold more of a score than their number would give."""

    def judge(findings: Findings) -> Judgement:
        found = _shares(findings.rows("analyses/layers"), measure, low, high)
        if not found:
            return _unknown(f"no {measure.replace('_', ' ')} was measured")
        shares, expected = [share for share, _ in found], found[0][1]
        if expected == 0:
            return _unknown("the model has no layer there")
        # There is one map of induction scores, whose errors over sequences are small.
        share, error = fmean(shares), _spread(shares) if len(shares) > 1 else 0.0
        return _above(share, error, expected), (
            f"{100 * share:.0f} ± {100 * error:.0f} % of what is above 0 lies in these layers, which are "
            f"{100 * expected:.0f} % of all (mean over {len(shares)} maps)"
        )

    return judge


def _shares(rows: Sequence[Mapping[str, Any]], measure: str, low: float, high: float) -> list[tuple[float, float]]:
    """For each map of a measure, the share of its layers between two depths, and how many of all layers these are."""
    maps: dict[tuple[Any, Any], list[float]] = {}
    for row in rows:
        if row["measure"] == measure and row["share"] is not None:
            maps.setdefault((row["task"], row["shots"]), []).append(row["share"])
    found = []
    for shares in maps.values():
        inside = [low <= (layer + 0.5) / len(shares) <= high for layer in range(len(shares))]
        within = sum(share for share, here in zip(shares, inside, strict=True) if here)
        found.append((within, sum(inside) / len(inside)))
    return found


def ffn_tolerance(findings: Findings) -> Judgement:
    """Whether removing FFNs costs less at 0 shots than with shots."""
    drops: dict[bool, list[float]] = {True: [], False: []}
    for name, curve in findings.curves("ffns", "own").items():
        drops[name.endswith(".0shot")].append(fmean(curve.drop[1:].tolist()))
    if not drops[True] or not drops[False]:
        return _unknown("needs tasks that the model can do at 0 shots and with shots")
    zero, few = fmean(drops[True]), fmean(drops[False])
    error = (_spread(drops[True]) ** 2 + _spread(drops[False]) ** 2) ** 0.5
    return _above(few - zero, error, 0.0), (
        f"the mean drop over all steps is {zero:.3f} at 0 shots ({len(drops[True])} settings) and {few:.3f} with shots "
        f"({len(drops[False])})"
    )


def correlated(findings: Findings) -> Judgement:
    """Whether tasks rank heads alike, beyond what layers alone give."""
    rhos, nulls = [], []
    for shots in findings.settings:
        for row in findings.rows(f"analyses/heads/correlations.{shots}shot"):
            if row["variant"] == "spearman" and row["within"] is None and "mean" not in (row["a"], row["b"]):
                rhos.append(row["rho"])
                nulls.append(row["null_high"])
    if not rhos:
        return _unknown("needs two tasks at the same number of shots")
    above = sum(rho > null for rho, null in zip(rhos, nulls, strict=True))
    verdict: Verdict = "holds" if above == len(rhos) else "does not hold" if 2 * above < len(rhos) else "undecided"
    return verdict, (
        f"rho is {min(rhos):.2f} to {max(rhos):.2f}, mean {fmean(rhos):.2f}; {above} of {len(rhos)} pairs lie above "
        "what the layers alone would give"
    )


def across_shots(findings: Findings) -> Judgement:
    """Whether a task ranks heads alike at different numbers of shots, beyond what layers alone give."""
    rows = [row for row in findings.rows("analyses/heads/across_shots") if row["variant"] == "spearman"]
    rows = [row for row in rows if row["within"] is None]
    if not rows:
        return _unknown("needs a task at two numbers of shots")
    above = sum(row["rho"] > row["null_high"] for row in rows)
    verdict: Verdict = "holds" if above == len(rows) else "does not hold" if 2 * above < len(rows) else "undecided"
    rhos = [row["rho"] for row in rows]
    return verdict, (
        f"rho is {min(rhos):.2f} to {max(rhos):.2f}, mean {fmean(rhos):.2f}; {above} of {len(rows)} lie above what the "
        "layers alone would give"
    )


def unseen(findings: Findings) -> Judgement:
    """Whether the mean ranking does as well as its own on a task that it does not contain."""
    own, mean = findings.curves("heads", "own"), findings.curves("heads", "mean")
    found = []
    for name in own.keys() & mean.keys():
        if name.rsplit(".", 1)[0] in findings.unseen and (common := _differences(own[name], mean[name])):
            # By document first: the same ones stand behind every step.
            difference = torch.stack(common).mean(0)
            found.append((float(difference.mean()), float(difference.std() / len(difference) ** 0.5)))
    if not found:
        return _unknown("no unseen task that the model can do was pruned by both rankings at the same steps")
    loss, error = fmean(one for one, _ in found), _mean_error(error for _, error in found)
    return _at_most(loss, error, TOLERANCE), (
        f"by the mean ranking accuracy is lower by {loss:.3f} ± {error:.3f} than by the task's own, in the mean over "
        "steps"
    )


def _differences(a: PruningCurve, b: PruningCurve) -> list[Tensor]:
    """For each step that two curves have in common, how much more often a document is answered rightly in the first."""
    common = sorted(set(a.percents) & set(b.percents) - {0.0})
    first, second = ([curve.correct[:, curve.percents.index(at)].mean(0) for at in common] for curve in (a, b))
    return [mine - theirs for mine, theirs in zip(first, second, strict=True)]


def few_do_both(findings: Findings) -> Judgement:
    """Whether few heads score high on both primitives."""
    maps = [findings.results.get(f"induction/{name}") for name in ("prefix_matching", "copying")]
    if not all(isinstance(one, HeadScores) for one in maps):
        return _unknown("induction scores are missing")
    prefix, copying = (one.values > 0.5 for one in maps if isinstance(one, HeadScores))
    both, total = int((prefix & copying).sum()), prefix.numel()
    verdict: Verdict = "holds" if both / total <= TOLERANCE else "does not hold"
    return verdict, (
        f"{both} of {total} heads score above 0.5 in both, {int(prefix.sum())} in prefix matching, "
        f"{int(copying.sum())} in copying"
    )


def _retained(findings: Findings, score: str, name: str, share: float) -> float | None:
    """Percent of a score that is left when this share of heads is gone."""
    rows = findings.rows(f"analyses/capacity/{score}.{name}")
    if not rows:
        return None
    wanted = share * max(row["removed"] for row in rows)
    return float(min(rows, key=lambda row: abs(row["removed"] - wanted))["retained"])


def prefix_flat(findings: Findings) -> Judgement:
    """Whether prefix matching outlives the first removals, and copying less of them."""
    means = [f"mean.{shots}shot" for shots in findings.settings]
    found = [
        (prefix, copying)
        for name in means
        for prefix in [_retained(findings, "prefix_matching", name, 0.2)]
        for copying in [_retained(findings, "copying", name, 0.2)]
        if prefix is not None and copying is not None
    ]
    if not found:
        return _unknown("needs a mean over tasks")
    prefix, copying = fmean(one for one, _ in found), fmean(one for _, one in found)
    verdict: Verdict = "holds" if prefix >= 95 and copying < prefix else "does not hold"
    return (
        verdict,
        f"without the 20 % least important heads {prefix:.1f} % of prefix matching and {copying:.1f} % of copying "
        "remain",
    )


def more_with_shots(findings: Findings) -> Judgement:
    """Whether more of prefix matching remains by few-shot rankings."""
    by_shots: dict[bool, list[float]] = {True: [], False: []}
    for shots, tasks in findings.settings.items():
        for task in tasks:
            rows = findings.rows(f"analyses/capacity/prefix_matching.{task}.{shots}shot")
            if rows:
                by_shots[shots == 0].append(fmean(row["retained"] for row in rows))
    if not by_shots[True] or not by_shots[False]:
        return _unknown("needs tasks at 0 shots and with shots")
    zero, few = fmean(by_shots[True]), fmean(by_shots[False])
    error = (_spread(by_shots[True]) ** 2 + _spread(by_shots[False]) ** 2) ** 0.5
    return _above(few - zero, error, 0.0), (
        f"in the mean over all removals {zero:.1f} % of prefix matching remains by 0-shot rankings, {few:.1f} % by "
        f"few-shot rankings (difference {few - zero:.1f} ± {'unknown' if isnan(error) else f'{error:.1f}'})"
    )


def tasks_differ(findings: Findings) -> Judgement:
    """Whether importance agrees with prefix matching more on some task that the model can do than on another."""
    able = findings.able()
    rows = [
        row | {"task": f"{row['task']} at {shots} shots"}
        for shots in findings.settings
        for row in findings.rows(f"analyses/agreement.{shots}shot")
        if row["score"] == "prefix_matching" and f"{row['task']}.{shots}shot" in able
    ]
    known = [row for row in rows if not isnan(row["low"])]
    if len(known) < 2:
        return _unknown("needs two tasks that the model can do, with intervals")
    lowest, highest = min(known, key=lambda row: row["rho"]), max(known, key=lambda row: row["rho"])
    verdict: Verdict = "holds" if highest["low"] > lowest["high"] else "undecided"
    return verdict, (
        f"importance agrees with prefix matching least on {lowest['task']} (rho {lowest['rho']:.2f}, 95 % "
        f"{lowest['low']:.2f} to {lowest['high']:.2f}) and most on {highest['task']} ({highest['rho']:.2f}, "
        f"{highest['low']:.2f} to {highest['high']:.2f})"
    )


def _unknown(why: str) -> Judgement:
    return "undecided", f"cannot be told: {why}"


def _at_most(value: float, error: float, limit: float) -> Verdict:
    if value + 2 * error <= limit:
        return "holds"
    return "does not hold" if value - 2 * error > limit else "undecided"


def _above(value: float, error: float, limit: float) -> Verdict:
    if value - 2 * error > limit:
        return "holds"
    return "does not hold" if value + 2 * error < limit else "undecided"


def _mean_error(errors: Iterable[float]) -> float:
    """The standard error of a mean of independent values."""
    listed = list(errors)
    return sum(error**2 for error in listed) ** 0.5 / len(listed)


def _spread(values: Sequence[float]) -> float:
    """The standard error of a mean, from how far its values lie apart; NaN, which decides nothing, for a single one."""
    mean, n = fmean(values), len(values)
    return (sum((value - mean) ** 2 for value in values) / (n - 1) / n) ** 0.5 if n > 1 else nan


def _listed(names: Iterable[str], most: int = 4) -> str:
    listed = sorted(names)
    return ", ".join(listed[:most]) + (", ..." if len(listed) > most else "")
