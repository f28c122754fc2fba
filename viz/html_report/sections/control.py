"""The section on the control: the scores of the model beside those of random weights."""

from dataclasses import dataclass
from math import nan

import torch

from headcount.results import HeadScores
from headcount.viz import number_format, wording
from headcount.viz.contents import Contents
from headcount.viz.ranks import number_of_parts

THRESHOLD = 0.5
INDUCTION = ("prefix_matching", "copying")
"""The measures that define an induction head."""


@dataclass(frozen=True)
class ControlRow:
    """One measure on the model and on random weights.

    Attributes:
        title: The measure's title.
        model: Highest score, mean score and the number of heads above the threshold.
        random: The same with random weights.
        beyond: The number of the model's heads that score higher than every head with random weights.
        total: The number of heads.
    """

    title: str
    model: tuple[str, str, str]
    random: tuple[str, str, str]
    beyond: int
    total: int


def control_rows(contents: Contents) -> list[ControlRow]:
    """Compare the model with random weights in each measure that has both."""
    shared = [measure for measure in contents.maps if measure in contents.control]
    return [_control_row(measure, contents.maps[measure], contents.control[measure]) for measure in shared]


def count_above(*maps: HeadScores) -> int:
    """Count the heads that exceed the threshold in every one of the maps."""
    return int(torch.stack([scores.values > THRESHOLD for scores in maps]).all(0).sum())


def _control_row(measure: str, scores: HeadScores, random: HeadScores) -> ControlRow:
    highest = max((value for *_, value in random.top(1)), default=nan)
    beyond = int((scores.values > highest).sum())
    title = wording.title_of(measure)
    return ControlRow(title, _summary(scores), _summary(random), beyond, number_of_parts(scores))


def _summary(scores: HeadScores) -> tuple[str, str, str]:
    """Return the highest score with its head, the mean score, and the number of heads above the threshold."""
    best = "".join(f"{number_format.decimal(value)} ({scores.label(*head)})" for *head, value in scores.top(1))
    mean = number_format.decimal(scores.values.nanmean().item())
    return best or number_format.MISSING, mean, str(count_above(scores))
