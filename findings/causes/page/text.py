"""Numbers, tables and lists of the page as text."""

from collections.abc import Iterable, Sequence
from math import isnan


def number(value: float, digits: int = 2) -> str:
    """Return a number with a fixed count of digits; `n/a` for NaN."""
    return "n/a" if isnan(value) else f"{value:.{digits}f}".replace("-0." + "0" * digits, "0." + "0" * digits)


def with_error(value: float, stderr: float, digits: int = 2) -> str:
    """Return a value and its standard error: `0.30 ± 0.03`."""
    return number(value, digits) if isnan(stderr) else f"{number(value, digits)} ± {number(stderr, digits)}"


def interval(low: float, high: float, digits: int = 2) -> str:
    """Return an interval: `0.12 to 0.48`; `n/a` if it is unknown."""
    return "n/a" if isnan(low) else f"{number(low, digits)} to {number(high, digits)}"


def table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def count(n: int, noun: str) -> str:
    """Return a number of things: `1 task`, `6 tasks`."""
    return f"{n} {noun}{'' if n == 1 else 's'}"


def listed(words: Iterable[str], none: str = "none") -> str:
    """Return words as a list in a sentence: `a, b and c`."""
    *most, last = list(words) or [none]
    return f"{', '.join(most)} and {last}" if most else last


def paragraphs(*parts: str) -> str:
    """Return the parts that are not empty, with a line between them."""
    return "\n\n".join(part for part in parts if part)


def bullets(sentences: Iterable[str]) -> str:
    """Return sentences as a list in Markdown."""
    return "\n".join(f"* {sentence}" for sentence in sentences)
