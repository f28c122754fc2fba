"""Scores side by side: the same heads, in the same order, without those that were not measured."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from headcount.results import ExpertScores, HeadScores, InputError, LayerScores

Scores = HeadScores | LayerScores | ExpertScores
Within = Literal["layer"] | None

FEWEST = 3


@dataclass(frozen=True)
class Aligned:
    """Several scores as arrays over the entries (heads, or layers) that all of them have.

    Attributes:
        values: Float64 scores.
        layers: Each entry's layer, ascending; None for scores of layers, which have no order within a layer.
        folds: Each task's folds; None for a task that has fewer than two.
    """

    values: Float[np.ndarray, "task entry"]
    layers: Int[np.ndarray, " entry"] | None
    folds: tuple[Float[np.ndarray, "fold entry"] | None, ...]

    @property
    def n(self) -> int:
        """The number of entries."""
        return self.values.shape[-1]

    def ranked_in(self, within: Within) -> Int[np.ndarray, " entry"] | None:
        """Return the layers in which ranks are taken, or None for ranks over all entries.

        Raises:
            InputError: `within` is unknown, or there is no order within a layer.
        """
        if within not in (None, "layer"):
            raise InputError(f"within must be None or 'layer', not {within!r}")
        if within and self.layers is None:
            raise InputError("within='layer' needs scores of heads, got LayerScores: a layer has one score only")
        return self.layers if within else None

    def freedom(self) -> Float[np.ndarray, "task task"]:
        """Return the degrees of freedom of each pair: the fewer folds less 1; NaN where neither side has folds."""
        by_task = np.array([np.inf if folds is None else len(folds) - 1 for folds in self.folds])
        pairs = np.minimum(by_task[:, None], by_task)
        return np.where(np.isinf(pairs), np.nan, pairs)


def align(scores: Mapping[str, Scores]) -> Aligned:
    """Lay scores side by side and leave out every entry that is NaN, in values or folds, in any of them.

    Raises:
        InputError: Shapes differ, there are no scores, or fewer than three entries are left.
    """
    check_shapes(scores)
    measured = np.logical_and.reduce([_measured(of_task) for of_task in scores.values()])
    if measured.sum() < FEWEST:
        names = ", ".join(scores)
        raise InputError(
            f"expected at least {FEWEST} entries measured in all of {names}, got {measured.sum()} of {measured.size}"
        )
    first = next(iter(scores.values()))
    places = None if isinstance(first, LayerScores) else np.repeat(np.arange(first.shape[0]), first.shape[1])
    layers = None if places is None else places[measured]
    values = np.stack([flat(of_task)[measured] for of_task in scores.values()])
    return Aligned(values, layers, tuple(_folds(of_task, measured) for of_task in scores.values()))


def check_shapes(scores: Mapping[str, Scores]) -> None:
    """Refuse scores of different models, or of different kinds of parts.

    Raises:
        InputError: Shapes or kinds differ, or there are no scores.
    """
    if not scores:
        raise InputError("expected at least one set of scores, got none")
    (first_name, first), *rest = scores.items()
    for name, of_task in rest:
        if type(of_task) is not type(first):
            raise InputError(
                f"expected scores of one kind, got {type(first).__name__} for {first_name} and "
                f"{type(of_task).__name__} for {name}"
            )
        if of_task.shape != first.shape:
            raise InputError(
                f"expected scores of one shape, got {first_name} of {list(first.shape)} and {name} of "
                f"{list(of_task.shape)}; compare scores of the same model"
            )


def flat(scores: Scores) -> Float[np.ndarray, " entry"]:
    """Return the values as float64 in one row."""
    return scores.values.double().flatten().numpy()


def check_resamples(resamples: int) -> None:
    """Refuse a number of resamples that gives no spread; 0 leaves intervals and nulls out.

    Raises:
        InputError: It is 1 or negative.
    """
    if resamples != 0 and resamples < 2:
        raise InputError(f"resamples must be 0 (no intervals) or at least 2, not {resamples}")


def check_share(name: str, values: Float[np.ndarray, "..."]) -> None:
    """Refuse numbers of which a part cannot be a share of the sum.

    Raises:
        InputError: One is NaN or negative, or their sum is 0.
    """
    if np.isnan(values).any():
        raise InputError(f"{name}: expected a score for every entry, got NaN for {np.isnan(values).sum()}")
    if (values < 0).any():
        raise InputError(
            f"{name}: expected scores of at least 0, of which parts are shares, got {values.min():g}; "
            "take a definition that is not signed"
        )
    if not values.sum():
        raise InputError(f"{name}: expected a sum above 0, got zeros only")


def _measured(scores: Scores) -> Bool[np.ndarray, " entry"]:
    measured = ~np.isnan(flat(scores))
    if scores.folds is not None:
        measured &= ~scores.folds.flatten(1).isnan().any(0).numpy()
    return measured


def _folds(scores: Scores, measured: Bool[np.ndarray, " entry"]) -> Float[np.ndarray, "fold entry"] | None:
    if scores.folds is None or len(scores.folds) < 2:
        return None
    return scores.folds.double().flatten(1).numpy()[:, measured]
