"""What the measures are called, and the plain sentences that go with each: how to read it, what it does not show."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite, isnan, nan
from types import MappingProxyType

from torch import Tensor

MISSING = "n/a"


@dataclass(frozen=True)
class Reading:
    """How a person should take a measure.

    Attributes:
        title: Its name.
        measures: What one value says about a head.
        reading: What high and low values mean.
        caveat: What must not be concluded from it.
    """

    title: str
    measures: str
    reading: str
    caveat: str


READINGS: Mapping[str, Reading] = MappingProxyType(
    {
        "prefix_matching": Reading(
            title="Prefix matching",
            measures="The share of a head's attention that goes to the tokens which followed earlier occurrences of "
            "the current token, on random tokens that repeat.",
            reading="Bright heads look at what came next the last time: 1 is all of the attention, 0 none of it. "
            "An induction head is bright here.",
            caveat="Where a head looks does not show what it writes, and random tokens are not text.",
        ),
        "copying": Reading(
            title="Copying",
            measures="Among the tokens in view that a head's own output makes likelier than their mean, the share of "
            "that gain which falls to the token it attends to most.",
            reading="Bright heads write what they read: at 1 only the token attended to gains, at 0 it gains nothing. "
            "An induction head is bright here too.",
            caveat="The head is judged on the embeddings alone; behind the layers below it, it may do something else.",
        ),
        "copying_published": Reading(
            title="Copying as published",
            measures="The copying score as the paper's own code computes it: from the current token's own value and "
            "output, without the sum over what the head attends to.",
            reading="Kept for comparison with published numbers. Heads that attend to the current token itself gain.",
            caveat="A head that copies from elsewhere can be dark here and bright in the map of copying.",
        ),
    }
)
EXTRAS: Mapping[str, str] = MappingProxyType({"self_attention": "Most on itself", "bos_attention": "Most on BOS"})


def title_of(name: str) -> str:
    """What people call a measure or an extra: a known name's title, or the name with spaces for underscores."""
    if name in READINGS:
        return READINGS[name].title
    return EXTRAS.get(name) or name.replace("_", " ").capitalize() or "Score"


def number(value: float, digits: int = 3) -> str:
    """A value to so many decimals; NaN, which was not measured, is `n/a`."""
    if isnan(value):
        return MISSING
    # Adding zero turns a rounded "-0.000" into "0.000".
    return f"{round(value, digits) + 0.0:.{digits}f}" if isfinite(value) else str(value)


def measured(value: float, stderr: float = nan, digits: int = 3) -> str:
    """A value with its standard error, `0.921 ± 0.004`; an unknown error is left out."""
    if isnan(stderr) or isnan(value):
        return number(value, digits)
    return f"{number(value, digits)} ± {number(stderr, digits)}"


def all_measured(values: Tensor, stderr: Tensor | None) -> list[str]:
    """Every value of a tensor with its standard error, in the order of the flattened tensor."""
    errors = [nan] * values.numel() if stderr is None else stderr.flatten().tolist()
    return [measured(value, error) for value, error in zip(values.flatten().tolist(), errors, strict=True)]
