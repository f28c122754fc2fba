"""What the report takes from a run: which results it knows, checked against each other."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from headcount.results import Accuracy, HeadScores, InputError, LayerScores, Patterns, RepeatLoss, Result, Run

MEASURES = ("prefix_matching", "copying", "copying_published")
MEANS: Mapping[str, str] = {"mean": "mean over tasks", "rank-mean": "mean rank over tasks"}
NAME = re.compile(r"(?P<task>.+)\.(?P<shots>\d+)shot")

Kind = TypeVar("Kind", HeadScores, LayerScores, Accuracy)


@dataclass(frozen=True)
class Setting:
    """What was measured on: a task, or a mean over tasks, at a number of shots.

    Attributes:
        task: The task's name, or one of `MEANS`.
        shots: The number of solved examples before each document.
    """

    task: str
    shots: int

    @property
    def is_mean(self) -> bool:
        """Whether it stands for several tasks."""
        return self.task in MEANS

    @property
    def name(self) -> str:
        """How a result's name says it: `piqa.0shot`."""
        return f"{self.task}.{self.shots}shot"

    @property
    def title(self) -> str:
        """What people call it: `piqa, 0 shots`."""
        return f"{MEANS.get(self.task, self.task)}, {self.shots} shot{'' if self.shots == 1 else 's'}"

    @property
    def order(self) -> tuple[int, int, str]:
        """Where it stands among others: fewer shots first, at each the means, then the tasks by name."""
        return self.shots, [*MEANS, self.task].index(self.task), self.task


@dataclass(frozen=True)
class Contents:
    """The results of one run that the report shows; any of them may be missing.

    Attributes:
        maps: Scores of the model's heads by measure, in the order in which they are shown.
        control: The same measures on a model of the same shape with random weights.
        loss: The loss by repeat, if it was measured.
        heads: The importance of heads for each task and number of shots, and its means over tasks.
        ffns: The importance of feed-forward networks, likewise.
        accuracy: How well the model does on each task.
        everything: All results of the run by name, those included that no section shows.
        attention: What every head attends to, by the prompt's name.
    """

    maps: Mapping[str, HeadScores]
    control: Mapping[str, HeadScores]
    loss: RepeatLoss | None
    heads: Mapping[Setting, HeadScores]
    ffns: Mapping[Setting, LayerScores]
    accuracy: Mapping[Setting, Accuracy]
    everything: Mapping[str, Result]
    attention: Mapping[str, Patterns] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether no section lacks its results."""
        parts = (self.control, self.heads, self.ffns, self.accuracy, self.attention)
        return len(self.maps) == len(MEASURES) and self.loss is not None and all(parts)

    @property
    def shape(self) -> tuple[int, ...]:
        """The numbers of layers and heads, as far as a result tells them."""
        for scores in (*self.maps.values(), *self.heads.values(), *self.control.values(), *self.ffns.values()):
            return scores.shape
        return next((patterns.shape for patterns in self.attention.values()), ())


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
    heads = _settings(run, everything, "importance/heads", HeadScores)
    ffns = _settings(run, everything, "importance/ffns", LayerScores)
    attention = _attention(run, everything)
    _check_shapes(run, (*maps.values(), *control.values(), *heads.values(), *attention.values()), ffns.values())
    accuracy = _settings(run, everything, "accuracy", Accuracy)
    return Contents(maps, control, loss, heads, ffns, accuracy, everything, attention)


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


def _attention(run: Run, everything: Mapping[str, Any]) -> dict[str, Patterns]:
    """What was recorded on each prompt, such as `attention/text`, by the prompt's name."""
    found = {}
    for name, result in everything.items():
        folder, _, prompt = name.partition("/")
        if folder != "attention":
            continue
        if not isinstance(result, Patterns):
            raise _wrong(run, name, "Patterns", result)
        found[prompt] = result
    return found


def _settings(run: Run, everything: Mapping[str, Any], group: str, kind: type[Kind]) -> dict[Setting, Kind]:
    """The results of a group whose names say task and shots, such as `importance/heads/piqa.0shot`, in order."""
    found = {}
    for name, result in everything.items():
        folder, _, own = name.rpartition("/")
        matched = NAME.fullmatch(own)
        if folder != group or matched is None:
            continue
        if not isinstance(result, kind):
            raise _wrong(run, name, kind.__name__, result)
        found[Setting(matched["task"], int(matched["shots"]))] = result
    return dict(sorted(found.items(), key=lambda entry: entry[0].order))


def _check_shapes(run: Run, heads: Iterable[HeadScores | Patterns], ffns: Iterable[LayerScores]) -> None:
    """Requires that all scores belong to one model."""
    shapes, layers = {scores.shape for scores in heads}, {scores.shape for scores in ffns}
    if len(shapes) > 1:
        raise InputError(
            f"{run.folder}: expected score maps of one shape [layer, head], got {_listed(shapes)}; measure again"
        )
    if len(layers | {shape[:1] for shape in shapes}) > 1:
        raise InputError(
            f"{run.folder}: expected scores of heads and of layers of one model, "
            f"got {_listed(shapes | layers)}; measure again"
        )


def _listed(shapes: Iterable[tuple[int, ...]]) -> str:
    return ", ".join(str(list(shape)) for shape in sorted(shapes))


def _wrong(run: Run, name: str, expected: str, result: object) -> InputError:
    return InputError(f"{name} in {run.folder}: expected {expected}, got {type(result).__name__}; measure again")
