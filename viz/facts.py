"""The numbers behind the report's sentences; the words around them are the template's."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import nan

import torch

from results import HeadScores, RepeatLoss
from viz import words

THRESHOLD = 0.5


@dataclass(frozen=True)
class Strongest:
    """The head with the highest score of one measure.

    Attributes:
        label: Its name, such as L18H6.
        score: Its value with standard error, as text.
        n: Over how many sequences.
        ranks: Its rank in each other measure, by that measure's title.
    """

    label: str
    score: str
    n: int
    ranks: Mapping[str, str]


@dataclass(frozen=True)
class Control:
    """One measure on the model and on random weights.

    Attributes:
        title: The measure's name.
        model: Highest score, mean score and the number of heads above the threshold.
        random: The same with random weights.
        beyond: How many of the model's heads score higher than every head with random weights.
        total: The number of heads.
    """

    title: str
    model: tuple[str, str, str]
    random: tuple[str, str, str]
    beyond: int
    total: int


def strongest(maps: Mapping[str, HeadScores]) -> dict[str, Strongest]:
    """The highest head of each measure; measures without a single measured head are left out."""
    orders = {measure: ranks(scores) for measure, scores in maps.items()}
    found = {}
    for measure, scores in maps.items():
        texts = words.all_measured(scores.values, scores.stderr)
        for layer, head, _ in scores.top(1):
            others = {
                words.title_of(other): str(order.get((layer, head), words.MISSING))
                for other, order in orders.items()
                if other != measure
            }
            text = texts[layer * scores.shape[1] + head]
            found[measure] = Strongest(scores.label(layer, head), text, scores.n, others)
    return found


def ranks(scores: HeadScores) -> dict[tuple[int, int], int]:
    """The rank of every measured head by (layer, head), 1 for the highest score."""
    return {(layer, head): rank for rank, (layer, head, _) in enumerate(scores.top(scores.values.numel()), 1)}


def above(*maps: HeadScores) -> int:
    """How many heads exceed the threshold in every one of the maps."""
    return int(torch.stack([scores.values > THRESHOLD for scores in maps]).all(0).sum())


def controls(maps: Mapping[str, HeadScores], random: Mapping[str, HeadScores]) -> list[Control]:
    """The model beside random weights, for each measure that has both."""
    return [_control(measure, scores, random[measure]) for measure, scores in maps.items() if measure in random]


def _control(measure: str, scores: HeadScores, random: HeadScores) -> Control:
    highest = max((value for *_, value in random.top(1)), default=nan)
    beyond = int((scores.values > highest).sum())
    return Control(words.title_of(measure), _spread(scores), _spread(random), beyond, scores.values.numel())


def learns(loss: RepeatLoss) -> bool:
    """Whether the loss late in the sequence lies below the early one by more than two standard errors."""
    return loss.late_minus_early + 2 * loss.late_minus_early_stderr < 0


def _spread(scores: HeadScores) -> tuple[str, str, str]:
    best = "".join(f"{words.number(value)} ({scores.label(*position)})" for *position, value in scores.top(1))
    return best or words.MISSING, words.number(scores.values.nanmean().item()), str(above(scores))
