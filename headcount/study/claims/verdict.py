"""Verdicts from a value, its standard error and a limit."""

from collections.abc import Iterable, Sequence
from math import nan
from statistics import fmean
from typing import Literal, NamedTuple

from headcount.results import Setting

FEW = 0.05
"""The share of heads that is few."""
TOLERANCE = 0.05
"""A decline of accuracy up to this is minimal."""

Verdict = Literal["holds", "does not hold", "undecided"]


class Evaluation(NamedTuple):
    """The evaluation of a claim.

    Attributes:
        verdict: The verdict.
        evidence: The numbers behind it, in a sentence.
    """

    verdict: Verdict
    evidence: str


def undecided(reason: str) -> Evaluation:
    """Return the evaluation of a claim for which results are missing."""
    return Evaluation("undecided", f"no verdict: {reason}")


def at_most(value: float, error: float, limit: float) -> Verdict:
    """Return "holds" if value + 2 error is at most the limit, "does not hold" if value - 2 error is above it."""
    if value + 2 * error <= limit:
        return "holds"
    return "does not hold" if value - 2 * error > limit else "undecided"


def above(value: float, error: float, limit: float) -> Verdict:
    """Return "holds" if value - 2 error is above the limit, "does not hold" if value + 2 error is below it."""
    if value - 2 * error > limit:
        return "holds"
    return "does not hold" if value + 2 * error < limit else "undecided"


def all_above(n_above: int, n: int) -> Verdict:
    """Return "holds" if all of n values are above their limits, "does not hold" if fewer than half of them are."""
    return "holds" if n_above == n else "does not hold" if 2 * n_above < n else "undecided"


def error_of_mean(errors: Iterable[float]) -> float:
    """Return the standard error of a mean of independent values, from the standard error of each."""
    listed = list(errors)
    return sum(error**2 for error in listed) ** 0.5 / len(listed)


def spread_of_mean(values: Sequence[float]) -> float:
    """Return the standard error of a mean, from the spread of its values; NaN, which decides nothing, for one value."""
    mean, n = fmean(values), len(values)
    return (sum((value - mean) ** 2 for value in values) / (n - 1) / n) ** 0.5 if n > 1 else nan


def listed(settings: Iterable[Setting], most: int = 4) -> str:
    """Return the first settings as text."""
    names = sorted(map(str, settings))
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")
