"""The results of a run that the report shows, checked against each other."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from headcount.results import (
    Accuracy,
    HeadScores,
    InputError,
    LayerScores,
    Patterns,
    RepeatLoss,
    Result,
    ResultName,
    Run,
    Setting,
)
from headcount.results.internal import SCORES

REPEAT_LOSS = ResultName.induction("repeat_loss")

Kind = TypeVar("Kind", HeadScores, LayerScores, Accuracy, Patterns, RepeatLoss)


@dataclass(frozen=True)
class Contents:
    """The results of one run that the report shows; any of them may be missing.

    Attributes:
        maps: Scores of the model's heads on random tokens, by measure, in the order in which they are shown.
        control: The same scores of a model of the same shape with random weights.
        loss: The loss by repeat; None if it was not measured.
        heads: The importance of heads by setting: each task at each number of shots, and the means over tasks.
        ffns: The importance of feed-forward networks, likewise.
        accuracy: The model's accuracy by setting.
        results: All results of the run by name, also those that no section shows.
        attention: The attention of every head, by the name of the prompt.
    """

    maps: Mapping[str, HeadScores]
    control: Mapping[str, HeadScores]
    loss: RepeatLoss | None
    heads: Mapping[Setting, HeadScores]
    ffns: Mapping[Setting, LayerScores]
    accuracy: Mapping[Setting, Accuracy]
    results: Mapping[str, Result]
    attention: Mapping[str, Patterns] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """True if no section lacks its results."""
        parts = (self.control, self.heads, self.ffns, self.accuracy, self.attention)
        return self.has_all_maps and self.loss is not None and all(parts)

    @property
    def has_all_maps(self) -> bool:
        """True if every score on random tokens was measured."""
        return len(self.maps) == len(SCORES)

    @property
    def shape(self) -> tuple[int, ...]:
        """The numbers of layers and heads, as far as a result has them."""
        for scores in (*self.maps.values(), *self.heads.values(), *self.control.values(), *self.ffns.values()):
            return scores.shape
        return next((patterns.shape for patterns in self.attention.values()), ())


def read_contents(run: Run) -> Contents:
    """Read all results of a run.

    Raises:
        InputError: A result is damaged, is not what its name says, or belongs to a model of another shape.
    """
    results = dict(run)
    contents = Contents(
        maps=_score_maps(run, results, ResultName.induction),
        control=_score_maps(run, results, ResultName.control),
        loss=_of_kind(run, results, REPEAT_LOSS, RepeatLoss) if str(REPEAT_LOSS) in results else None,
        heads=_by_setting(run, results, "importance/heads", HeadScores),
        ffns=_by_setting(run, results, "importance/ffns", LayerScores),
        accuracy=_by_setting(run, results, "accuracy", Accuracy),
        results=results,
        attention={name.topic: _of_kind(run, results, name, Patterns) for name in _names_in(results, "attention")},
    )
    _check_shapes(run, contents)
    return contents


def _names_in(results: Mapping[str, Result], folder: str) -> list[ResultName]:
    """Return the names of the results in a folder, such as `importance/heads`."""
    names = [name for name in map(ResultName.parse, results) if name is not None]
    return [name for name in names if name.folder == folder]


def _score_maps(run: Run, results: Mapping[str, Result], name_of: Callable[[str], ResultName]) -> dict[str, HeadScores]:
    """Return the maps of the scores on random tokens, by measure."""
    names = {score: name_of(score) for score in SCORES}
    return {score: _of_kind(run, results, name, HeadScores) for score, name in names.items() if str(name) in results}


def _by_setting(run: Run, results: Mapping[str, Result], folder: str, kind: type[Kind]) -> dict[Setting, Kind]:
    """Return the results of a folder by task and shots, in order."""
    names = {name.setting: name for name in _names_in(results, folder) if name.setting is not None}
    ordered = sorted(names, key=lambda setting: setting.order)
    return {setting: _of_kind(run, results, names[setting], kind) for setting in ordered}


def _of_kind(run: Run, results: Mapping[str, Result], name: ResultName, kind: type[Kind]) -> Kind:
    """Return a result that must be of one kind.

    Raises:
        InputError: It is of another kind.
    """
    result = results[str(name)]
    if not isinstance(result, kind):
        raise InputError(
            f"{name} in {run.folder}: expected {kind.__name__}, got {type(result).__name__}; measure again"
        )
    return result


def _check_shapes(run: Run, contents: Contents) -> None:
    """Check that all scores belong to one model.

    Raises:
        InputError: They have several shapes, or numbers of layers.
    """
    heads = (contents.maps, contents.control, contents.heads, contents.attention)
    shapes = {scores.shape for group in heads for scores in group.values()}
    layers = {scores.shape for scores in contents.ffns.values()}
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
