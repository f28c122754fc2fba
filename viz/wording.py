"""What the measures are called, and the plain sentences that go with each: how to read it, what it does not show."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isfinite, isnan, log10, nan
from types import MappingProxyType

from torch import Tensor

from headcount.results import HeadScores, LayerScores

MISSING = "n/a"
STEP = 1e-3  # of the last decimal that is shown, unless scores are small
SHARES = ("prefix_matching", "copying", "copying_published", "ffn_importance")  # of 1: decimals say enough
SMALL = 0.1  # where no other score reaches this, decimals would show little but zeros


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
            "An induction head is bright here too, by this map's own scale.",
            caveat="The head is judged on the embeddings alone; behind the layers below it, it may do something else.",
        ),
        "copying_published": Reading(
            title="Copying as published",
            measures="The copying score as the paper's own code computes it: from the current token's own value and "
            "output, without the sum over what the head attends to.",
            reading="Kept for comparison with published numbers. Heads that attend to the current token itself gain.",
            caveat="A head that copies from elsewhere can be dark here and bright in the map of copying.",
        ),
        "head_importance": Reading(
            title="Head importance",
            measures="How much the loss on a task's gold continuations would change, to first order, if a head's "
            "output went to zero.",
            reading="Bright heads carry more of the prediction: 0 is a head without which, to first order, nothing "
            "changes. The unit is nats of loss for each token that the model reads, prompt and continuation, so only "
            "heads of one map compare.",
            caveat="Gradients give a first-order estimate for each head alone, on the gold continuations of these "
            "documents and prompts. No head was removed, and what is lost when several go together is not in it.",
        ),
        "ffn_importance": Reading(
            title="FFN importance",
            measures="The drop in a task's accuracy when the feed-forward network (FFN) of one layer is removed.",
            reading="A layer far above zero is one whose FFN the task needs; below zero, more documents are right "
            "without it. Bars are one standard error: of the paired difference over documents, or over a mean's tasks.",
            caveat="On few documents a drop in accuracy has a large error, and it holds for these documents and "
            "prompts. One FFN was removed at a time: what is lost when several go together is not in it.",
        ),
    }
)
EXTRAS: Mapping[str, str] = MappingProxyType(
    {
        "self_attention": "Most on itself",
        "bos_attention": "Most on BOS",
        "log_p": "Drop of gold log-probability, nats",
    }
)
QUANTITIES: Mapping[str, str] = MappingProxyType(
    {"head_importance": "importance", "ffn_importance": "drop in accuracy"}
)


def title_of(name: str) -> str:
    """What people call a measure or an extra: a known name's title, or the name with spaces for underscores."""
    if name in READINGS:
        return READINGS[name].title
    return EXTRAS.get(name) or name.replace("_", " ").capitalize() or "Score"


def quantity(scores: HeadScores | LayerScores) -> str:
    """What one number is, for the heading of a column or an axis; means over tasks say in their definition how."""
    if scores.definition.startswith("rank-mean"):
        return "mean rank"
    return QUANTITIES.get(scores.measure) or title_of(scores.measure).lower()


def heading(scores: HeadScores | LayerScores) -> str:
    """What was measured, how, how often and on what."""
    definition = f" ({scores.definition})" if scores.definition else ""
    said = [str(scores.provenance[key]) for key in ("task", "model") if key in scores.provenance]
    return ", ".join([f"{title_of(scores.measure)}{definition}", *said, f"n = {scores.n}"])


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


def interval(low: float, high: float, digits: int = 3) -> str:
    """The ends of an interval, `0.412 to 0.533`; `n/a` where neither is known."""
    return MISSING if isnan(low) and isnan(high) else f"{number(low, digits)} to {number(high, digits)}"


def amount(count: float) -> str:
    """A large number to three digits: `49.2 k`, `3.54 M`, `15.7 B`."""
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if count >= size:
            scaled = count / size
            return f"{scaled:.{max(0, 2 - int(log10(scaled)))}f} {letter}"
    return f"{count:.0f}"


def significant(value: float, stderr: float = nan) -> str:
    """A value with its standard error to three digits of the larger one, `3.12e-5 ± 0.41e-5`, for small numbers."""
    largest = max((abs(part) for part in (value, stderr) if isfinite(part)), default=0.0)
    if not isfinite(value) or not largest:
        return measured(value, stderr)
    exponent = int(f"{largest:.2e}".partition("e")[2])
    parts = [f"{number(part / float(f'1e{exponent}'), 2)}e{exponent}" for part in (value, stderr) if not isnan(part)]
    return " ± ".join(parts)


def last_digit(value: float) -> float:
    """What one step of the third digit of a small value is worth: 1e-7 for 3.12e-5; 1 where it has no digits."""
    if not isfinite(value) or not value:
        return 1.0
    return float(f"1e{int(f'{value:.2e}'.partition('e')[2]) - 2}")


def writer(scores: HeadScores | LayerScores) -> Callable[[float, float], str]:
    """How to write scores with their errors, all of one map alike: `measured`, or `significant` where all are small."""
    finite = scores.values[scores.values.isfinite()].abs()
    small = scores.measure not in SHARES and bool(finite.any()) and finite.max().item() < SMALL
    return significant if small else measured


def written(scores: HeadScores | LayerScores) -> list[str]:
    """Every score with its standard error, in the order of the flattened values."""
    write = writer(scores)
    errors = [nan] * scores.values.numel() if scores.stderr is None else scores.stderr.flatten().tolist()
    return [write(value, error) for value, error in zip(scores.values.flatten().tolist(), errors, strict=True)]


def all_measured(values: Tensor, stderr: Tensor | None) -> list[str]:
    """Every value of a tensor with its standard error, in the order of the flattened tensor."""
    errors = [nan] * values.numel() if stderr is None else stderr.flatten().tolist()
    return [measured(value, error) for value, error in zip(values.flatten().tolist(), errors, strict=True)]
