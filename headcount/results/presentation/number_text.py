"""Numbers as text: a value, and a value with its standard error."""

from math import isfinite, isnan, nan

MISSING = "n/a"
MOST_PLACES = 6
"""Decimals at most; a smaller error is written with an exponent."""


def decimal(value: float, digits: int = 3) -> str:
    """Return a value with a fixed number of decimals; `n/a` for NaN, which was not measured."""
    if isnan(value):
        return MISSING
    # Adding zero turns a rounded "-0.000" into "0.000".
    return f"{round(value, digits) + 0.0:.{digits}f}" if isfinite(value) else str(value)


def with_error(value: float, stderr: float = nan, digits: int = 3) -> str:
    """Return a value with its standard error, `0.9214 ± 0.0042`: two digits of the error, the value to as many places.

    Args:
        value: The value.
        stderr: Its standard error; NaN, an unknown one, is left out.
        digits: The decimals of a value without an error.
    """
    if isnan(stderr) or not isfinite(value):
        return decimal(value, digits)
    places = digits if stderr == 0 or not isfinite(stderr) else min(_places(stderr), MOST_PLACES)
    return f"{decimal(value, max(places, 0))} ± {error_text(stderr)}"


def error_text(stderr: float) -> str:
    """Return a standard error with two significant digits, `0.0042`; `n/a` for NaN."""
    if isnan(stderr):
        return MISSING
    if stderr == 0 or not isfinite(stderr):
        return f"{stderr:g}"
    places = _places(stderr)
    if places > MOST_PLACES:
        mantissa, _, exponent = f"{stderr:.1e}".partition("e")
        return f"{mantissa}e{int(exponent)}"
    return f"{round(stderr, places):.{max(places, 0)}f}"


def shown_error(stderr: float, n: int) -> float:
    """Return a standard error if it is worth showing: NaN for one from two values, which is off by half or more."""
    return stderr if n > 2 else nan


def _places(stderr: float) -> int:
    """Return the decimals that show two significant digits; negative for an error of 100 or more."""
    return 1 - int(f"{stderr:.1e}".partition("e")[2])
