"""What the report takes from a run: which results it knows, checked against each other."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from results import HeadScores, InputError, RepeatLoss, Result, Run

MEASURES = ("prefix_matching", "copying", "copying_published")


@dataclass(frozen=True)
class Contents:
    """The results of one run that the report shows; any of them may be missing.

    Attributes:
        maps: Scores of the model's heads by measure, in the order in which they are shown.
        control: The same measures on a model of the same shape with random weights.
        loss: The loss by repeat, if it was measured.
        everything: All results of the run by name, those included that no section shows.
    """

    maps: Mapping[str, HeadScores]
    control: Mapping[str, HeadScores]
    loss: RepeatLoss | None
    everything: Mapping[str, Result]


def read(run: Run) -> Contents:
    """Reads all results of a run.

    Raises:
        InputError: A result is damaged, is not what its name says, or belongs to a model of another shape.
    """
    everything = dict(run)
    loss = everything.get("induction/repeat_loss")
    if loss is not None and not isinstance(loss, RepeatLoss):
        raise _wrong(run, "induction/repeat_loss", "RepeatLoss", loss)
    maps, control = _maps(run, everything, "induction"), _maps(run, everything, "control")
    shapes = {scores.shape for scores in (*maps.values(), *control.values())}
    if len(shapes) > 1:
        listed = ", ".join(str(list(shape)) for shape in sorted(shapes))
        raise InputError(f"{run.folder}: expected score maps of one shape [layer, head], got {listed}; measure again")
    return Contents(maps, control, loss, everything)


def _maps(run: Run, everything: Mapping[str, Any], group: str) -> dict[str, HeadScores]:
    """The score maps of a group, such as `"control"`, by measure."""
    found = {measure: everything.get(f"{group}/{measure}") for measure in MEASURES}
    maps = {}
    for measure, scores in found.items():
        if isinstance(scores, HeadScores):
            maps[measure] = scores
        elif scores is not None:
            raise _wrong(run, f"{group}/{measure}", "HeadScores", scores)
    return maps


def _wrong(run: Run, name: str, expected: str, result: object) -> InputError:
    return InputError(f"{name} in {run.folder}: expected {expected}, got {type(result).__name__}; measure again")
