"""Scores side by side: the same heads, in the same order, without those that were not measured."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from headcount.results import HeadScores, InputError, LayerScores

Scores = HeadScores | LayerScores
Within = Literal["layer"] | None

FEWEST = 3


@dataclass(frozen=True)
class Aligned:
    """Several scores as arrays over the entries (heads, or layers) that all of them have.

    Attributes:
        values: Float64 scores.
        layers: Each entry's layer, ascending; None for scores of layers, which have no order within a layer.
        folds: Each task's folds; None where it has fewer than two.
    """

    values: Float[np.ndarray, "task entry"]
    layers: Int[np.ndarray, " entry"] | None
    folds: tuple[Float[np.ndarray, "fold entry"] | None, ...]

    @property
    def n(self) -> int:
        """The number of entries."""
        return self.values.shape[-1]

    def ranked_in(self, within: Within) -> Int[np.ndarray, " entry"] | None:
        """The layers in which ranks are taken, or None for ranks over all entries.

        Raises:
            InputError: `within` is unknown, or there is no order within a layer.
        """
        if within not in (None, "layer"):
            raise InputError(f"within must be None or 'layer', not {within!r}")
        if within and self.layers is None:
            raise InputError("within='layer' needs scores of heads, got LayerScores: a layer has one score only")
        return self.layers if within else None

    def freedom(self) -> Float[np.ndarray, "task task"]:
        """Degrees of freedom of each pair's resampling: the fewer folds less 1; NaN where neither side has folds."""
        each = np.array([np.inf if folds is None else len(folds) - 1 for folds in self.folds])
        pairs = np.minimum(each[:, None], each)
        return np.where(np.isinf(pairs), np.nan, pairs)


def align(scores: Mapping[str, Scores]) -> Aligned:
    """Lays scores side by side and leaves out every entry that is NaN, in values or folds, in any of them.

    Raises:
        InputError: Shapes differ, there are no scores, or fewer than three entries are left.
    """
    check_shapes(scores)
    kept = np.logical_and.reduce([_measured(each) for each in scores.values()])
    if kept.sum() < FEWEST:
        names = ", ".join(scores)
        raise InputError(
            f"expected at least {FEWEST} entries measured in all of {names}, got {kept.sum()} of {kept.size}"
        )
    first = next(iter(scores.values()))
    layers = np.repeat(np.arange(first.shape[0]), first.shape[1])[kept] if isinstance(first, HeadScores) else None
    values = np.stack([flat(each)[kept] for each in scores.values()])
    return Aligned(values, layers, tuple(_folds(each, kept) for each in scores.values()))


def check_shapes(scores: Mapping[str, Scores]) -> None:
    """Refuses scores of different models.

    Raises:
        InputError: Shapes differ, or there are no scores.
    """
    if not scores:
        raise InputError("expected at least one set of scores, got none")
    (name, first), *others = scores.items()
    for other, each in others:
        if each.shape != first.shape:
            raise InputError(
                f"expected scores of one shape, got {name} of {list(first.shape)} and {other} of {list(each.shape)}; "
                "compare scores of the same model"
            )


def flat(scores: Scores) -> Float[np.ndarray, " entry"]:
    """The values as float64 in one row."""
    return scores.values.double().flatten().numpy()


def check_resamples(resamples: int) -> None:
    """Refuses a number of resamples that gives no spread; 0 leaves intervals and nulls out.

    Raises:
        InputError: It is 1 or negative.
    """
    if resamples != 0 and resamples < 2:
        raise InputError(f"resamples must be 0 (no intervals) or at least 2, not {resamples}")


def _measured(scores: Scores) -> Bool[np.ndarray, " entry"]:
    measured = ~np.isnan(flat(scores))
    if scores.folds is not None:
        measured &= ~scores.folds.flatten(1).isnan().any(0).numpy()
    return measured


def _folds(scores: Scores, kept: Bool[np.ndarray, " entry"]) -> Float[np.ndarray, "fold entry"] | None:
    if scores.folds is None or len(scores.folds) < 2:
        return None
    return scores.folds.double().flatten(1).numpy()[:, kept]
