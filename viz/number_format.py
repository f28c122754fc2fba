"""Numbers as the report and the figures write them: decimals, standard errors, intervals."""

from collections.abc import Callable
from math import isfinite, isnan, log10, nan

from torch import Tensor

from headcount.results import ExpertScores, HeadScores, LayerScores
from headcount.results.internal import MISSING as MISSING
from headcount.results.internal import decimal as decimal
from headcount.results.internal import shown_error as shown_error
from headcount.results.internal import with_error as with_error

SHARES = ("prefix_matching", "copying", "copying_published", "ffn_importance")  # of 1: three decimals are enough
SMALL = 0.1  # if no score of a map reaches this, decimals would be mostly zeros

Formatter = Callable[[float, float], str]


def interval(low: float, high: float, digits: int = 3) -> str:
    """Return the ends of an interval, `0.412 to 0.533`; `n/a` where neither is known."""
    return MISSING if isnan(low) and isnan(high) else f"{decimal(low, digits)} to {decimal(high, digits)}"


def p_value(p: float) -> str:
    """Return a p-value, `1.0e-03`."""
    return f"{p:.1e}"


def amount(count: float) -> str:
    """Return a large number to three digits: `49.2 k`, `3.54 M`, `15.7 B`."""
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if count >= size:
            scaled = count / size
            return f"{scaled:.{max(0, 2 - int(log10(scaled)))}f} {letter}"
    return f"{count:.0f}"


def scientific(value: float, stderr: float = nan) -> str:
    """Return a small value with its standard error, `3.12e-5 ± 0.41e-5`: both with the exponent of the larger one."""
    largest = max((abs(part) for part in (value, stderr) if isfinite(part)), default=0.0)
    if not isfinite(value) or not largest:
        return with_error(value, stderr)
    exponent = int(f"{largest:.2e}".partition("e")[2])
    scale = float(f"1e{exponent}")
    parts = with_error(value / scale, stderr / scale, 2).split(" ± ")
    return " ± ".join(part if part in ("0", "inf") else f"{part}e{exponent}" for part in parts)


def formatter_of(measure: str, largest: float) -> Formatter:
    """Return the function that writes scores of a measure: `with_error`, or `scientific` if the largest one is small.

    Args:
        measure: The measure's name; shares of 1 are always written with decimals.
        largest: The largest finite absolute score; NaN if there is none.
    """
    return scientific if measure not in SHARES and largest < SMALL else with_error


def formatter(scores: HeadScores | LayerScores | ExpertScores) -> Formatter:
    """Return the function that writes each score of a map with its error, all of the map in the same way."""
    finite = scores.values[scores.values.isfinite()].abs()
    return formatter_of(scores.measure, finite.max().item() if finite.any() else nan)


def score_texts(scores: HeadScores | LayerScores | ExpertScores) -> list[str]:
    """Return every score with its standard error, in the order of the flattened values."""
    return _texts(formatter(scores), scores.values, shown_errors(scores))


def shown_errors(scores: HeadScores | LayerScores | ExpertScores) -> Tensor | None:
    """Return the standard errors that are worth showing: none of fewer than three sequences or examples."""
    return None if isnan(shown_error(1.0, scores.n)) else scores.stderr


def value_texts(values: Tensor, stderr: Tensor | None = None) -> list[str]:
    """Return every value of a tensor with its standard error, in the order of the flattened tensor."""
    return _texts(with_error, values, stderr)


def _texts(write: Formatter, values: Tensor, stderr: Tensor | None) -> list[str]:
    errors = [nan] * values.numel() if stderr is None else stderr.flatten().tolist()
    return [write(value, error) for value, error in zip(values.flatten().tolist(), errors, strict=True)]
