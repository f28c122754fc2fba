"""Results of comparing scores: plain numbers, tuples and dicts, which `dataclasses.asdict` makes ready for JSON."""

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from headcount.results.storage import field_types

if TYPE_CHECKING:
    import pandas as pd

Rows = tuple[tuple[float, ...], ...]


class Comparison:
    """The base of all these results: a field that is not what its annotation says is an `InputError`."""

    def __post_init__(self) -> None:
        field_types.check_fields(self)


@dataclass(frozen=True)
class Correlation(Comparison):
    """Rank correlation of two sets of scores of the same heads (or layers).

    Attributes:
        rho: The rank correlation, -1..1; NaN where one side ranks nothing, all its scores being equal.
        p_value: Two-sided, of no association: Student's t as in SciPy; within layers, from permuting heads there, so
            at least 1 / (resamples + 1).
        low: Lower end of the 95 % interval of the rho that other examples, as many as these, would give; NaN where
            neither side has folds. It says nothing of rho without noise, which `ceiling` is for.
        high: Upper end of it.
        null_mean: Mean rho after permuting heads within their layers: the agreement that layer structure alone gives.
            NaN for scores of layers.
        null_low: The 2.5 % quantile of rho after permuting.
        null_high: The 97.5 % quantile.
        null_p: Two-sided, of agreement that is layer structure only.
        ceiling: sqrt of the product of both reliabilities: about the rho to expect, given the noise, if the rankings
            were equal without it. NaN unless both sides have folds, and for `argsort`.
        n: The number of heads compared; those of NaN on either side are left out.
        variant: `"spearman"`, or `"argsort"`, which the published code computes and which is no rank correlation.
        within: `"layer"` if ranks were taken within each layer.
    """

    rho: float
    p_value: float
    low: float
    high: float
    null_mean: float
    null_low: float
    null_high: float
    null_p: float
    ceiling: float
    n: int
    variant: str = "spearman"
    within: str | None = None


@dataclass(frozen=True)
class CorrelationMatrix(Comparison):
    """`Correlation` of every pair of names; each table is a row and a column a name, symmetric.

    On the diagonal rho, `low` and `high` are 1, `p_value` is 0 and `ceiling` is the reliability.

    Attributes:
        names: The names of the scores, in the order in which they were passed.
        rho: [name, name], and so are all the tables.
        p_value: As in `Correlation`, as are all that follow.
        n: The number of heads compared; those of NaN in any of the scores are left out of every pair.
    """

    names: tuple[str, ...]
    rho: Rows
    p_value: Rows
    low: Rows
    high: Rows
    null_mean: Rows
    null_low: Rows
    null_high: Rows
    null_p: Rows
    ceiling: Rows
    n: int
    variant: str = "spearman"
    within: str | None = None

    def to_frame(self) -> "pd.DataFrame":
        """Return a tidy table, one row an ordered pair: `first`, `second`, and a column for each of the tables."""
        import pandas as pd

        rows, columns = np.indices((len(self.names), len(self.names))).reshape(2, -1)
        frame: dict[str, Any] = {"first": np.array(self.names)[rows], "second": np.array(self.names)[columns]}
        tables = (item.name for item in fields(self) if item.type == Rows)
        return pd.DataFrame(frame | {name: np.array(getattr(self, name)).flatten() for name in tables})


@dataclass(frozen=True)
class Reliability(Comparison):
    """Agreement of scores with themselves when measured on other examples.

    Attributes:
        rho: Mean rank correlation between halves of the examples.
        corrected: The same for the full number of examples, by Spearman and Brown: 2 rho / (1 + rho).
        lowest: The lowest rho among the halvings.
        highest: The highest one.
        halvings: The number of times the folds were halved.
        n_folds: The number of folds.
        n: The number of heads compared.
        within: `"layer"` if ranks were taken within each layer.
    """

    rho: float
    corrected: float
    lowest: float
    highest: float
    halvings: int
    n_folds: int
    n: int
    within: str | None = None


@dataclass(frozen=True)
class Overlap(Comparison):
    """The share of the highest heads of one set of scores that are also the highest of another.

    Attributes:
        fraction: The share, 0..1.
        chance: Its expectation if heads were drawn at random (within layers: at random within each layer).
        n_top: The number of heads that count as highest.
        n: The number of heads compared.
        p_value: Probability of as large a share by chance, exact.
        chance_low: The 2.5 % quantile of the share by chance.
        chance_high: The 97.5 % quantile.
        low: Lower end of the 95 % interval of the share that other examples would give; NaN where neither side has
            folds.
        high: Upper end of it.
        null_mean: Expected share if only the number of highest heads in each layer were as measured. NaN for layers.
        null_low: The 2.5 % quantile of that.
        null_high: The 97.5 % quantile.
        null_p: Probability of as large a share with that structure alone, exact.
        top: The requested part of all heads.
        within: `"layer"` if the highest were taken in each layer.
    """

    fraction: float
    chance: float
    n_top: int
    n: int
    p_value: float
    chance_low: float
    chance_high: float
    low: float
    high: float
    null_mean: float
    null_low: float
    null_high: float
    null_p: float
    top: float
    within: str | None = None


@dataclass(frozen=True)
class Merge(Comparison):
    """One step of a clustering: `left` and `right`, counted as SciPy does, become one cluster of `size` names.

    Attributes:
        left: 0..len(names) - 1 is a name, len(names) + k the cluster of step k.
        right: The other one.
        distance: Mean 1 - rho between them.
        size: The number of names in the new cluster.
    """

    left: int
    right: int
    distance: float
    size: int


@dataclass(frozen=True)
class Clusters(Comparison):
    """A tree of names, of which those that rank heads alike are close.

    Attributes:
        names: All names, in the order of the matrix, which `merges` counts in.
        order: The same names with neighbours in the tree side by side, for display.
        merges: The steps from single names to one cluster, the closest first.
    """

    names: tuple[str, ...]
    order: tuple[str, ...]
    merges: tuple[Merge, ...]


@dataclass(frozen=True)
class ShotPair(Comparison):
    """Rank correlations of scores at two numbers of shots, task by task.

    Attributes:
        shots: The two numbers, the smaller first.
        tasks: The correlation of each task that was measured at both.
        mean: Mean rho over tasks.
        variance: Its unbiased variance over tasks; NaN for a single one.
        n: The number of tasks.
    """

    shots: tuple[int, int]
    tasks: dict[str, Correlation] = field(hash=False)
    mean: float
    variance: float
    n: int


@dataclass(frozen=True)
class Capacity(Comparison):
    """The part of a score that remains as heads are removed: each tuple has one number for 0, 1, .., all heads removed.

    Attributes:
        curve: Percent of the score's sum that remains, 100..0.
        low: Lower end of its pointwise 95 % interval over examples that order the heads; NaN without folds.
        high: Upper end of it.
        null_mean: Mean curve after permuting the order's heads within their layers. NaN for scores of layers.
        null_low: The pointwise 2.5 % quantile of that.
        null_high: The 97.5 % quantile.
        within: `"layer"` if heads were ordered by their rank within their layer.
    """

    curve: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    null_mean: tuple[float, ...]
    null_low: tuple[float, ...]
    null_high: tuple[float, ...]
    within: str | None = None

    def to_frame(self) -> "pd.DataFrame":
        """Return a tidy table, one row a number of heads removed: `removed` and a column for each of the curves."""
        import pandas as pd

        curves = {item.name: getattr(self, item.name) for item in fields(self) if item.name != "within"}
        return pd.DataFrame({"removed": np.arange(len(self.curve)), **curves})
