"""One number per attention head, or per layer, with all that is needed to interpret it later."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from headcount.results.errors import InputError
from headcount.results.presentation.notebook_table import html_table
from headcount.results.presentation.number_text import error_text
from headcount.results.presentation.order import highest_first
from headcount.results.storage import checks, field_types
from headcount.results.storage.stored import Stored

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("value", "variance", "stderr", "n")
SHOWN = 5  # rows of the table in a notebook


@dataclass(frozen=True, eq=False, repr=False)
class Scores(Stored):
    """The base of `HeadScores`, `LayerScores`, `ExpertScores` and `PairScores`, which differ in `axes`."""

    axes: ClassVar[tuple[str, ...]]

    values: Float[Tensor, "..."]
    variance: Float[Tensor, "..."] | None = None
    n: int = 1
    folds: Float[Tensor, "fold ..."] | None = None
    measure: str = ""
    definition: str = ""
    extras: dict[str, Float[Tensor, "..."]] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        checks.check_count("n", self.n)
        field_types.check_fields(self)
        self._copy_fields()
        self._adopt("values", self.axes, [None] * len(self.axes))
        self._adopt("variance", self.axes, self.shape, optional=True)
        self._adopt("folds", ["fold", *self.axes], [None, *self.shape], optional=True)
        checks.check_variance(self.variance)
        self._set("extras", {name: self._extra(name, extra) for name, extra in self.extras.items()})

    @property
    def shape(self) -> tuple[int, ...]:
        """The length of each axis."""
        return tuple(self.values.shape)

    @property
    def stderr(self) -> Float[Tensor, "..."] | None:
        """Standard error of each value, sqrt(variance / n), in the shape of `values`; None without a variance."""
        return None if self.variance is None else (self.variance / self.n).sqrt()

    def top(self, k: int) -> list[tuple[Any, ...]]:
        """Return the highest scores.

        Args:
            k: Their number at most. A score of NaN, which was not measured, is never among them.

        Returns:
            Tuples of the position along each axis and the value, such as `(layer, head, value)`, the highest value
            first; ties the higher drop of log-probability first, as in `ranking`, then in the order of positions.

        Raises:
            InputError: `k` is negative.
        """
        if k < 0:
            raise InputError(f"top: expected a count of at least 0, got {k}")
        flat = self.values.flatten().numpy()
        best = highest_first(flat, self._ties())[:k]
        positions = np.stack(np.unravel_index(best, self.shape), axis=1).tolist()
        return [(*position, value) for position, value in zip(positions, flat[best].tolist(), strict=True)]

    def ranking(self) -> Int64[Tensor, " entry"]:
        """Return the order of all entries, the lowest score first.

        Returns:
            Int64 indices into the flattened `values`; entries of NaN at the end, so that heads that were not measured
            are the last to be pruned. Ties, frequent where a drop of accuracy is counted in documents, go by the drop
            of the gold log-probability where it was measured (`extras["log_p"]`), then by their positions.
        """
        return torch.from_numpy(np.lexsort((self._ties(), self.values.flatten().numpy())))

    def _ties(self) -> Float[np.ndarray, " entry"]:
        """Return the numbers that order entries of equal scores."""
        drops = self.extras.get("log_p")
        return np.zeros(self.values.numel(), dtype=np.float32) if drops is None else drops.flatten().numpy()

    def label(self, *position: int) -> str:
        """Return the usual short name of an entry: `L18H6` for layer 18, head 6."""
        return "".join(f"{axis[0].upper()}{index}" for axis, index in zip(self.axes, position, strict=True))

    def to_frame(self) -> "pd.DataFrame":
        """Return a tidy table, one row an entry.

        Returns:
            Columns: the position along each axis, `value`, `variance`, `stderr` (NaN where there is no variance), `n`,
            and one for each of `extras`.
        """
        import pandas as pd

        columns = dict(zip(self.axes, np.indices(self.shape).reshape(len(self.axes), -1), strict=True))
        tensors = {"value": self.values, "variance": self.variance, "stderr": self.stderr}
        for name, tensor in tensors.items():
            columns[name] = np.full(self.values.numel(), np.nan) if tensor is None else tensor.flatten().numpy()
        columns["n"] = np.full(self.values.numel(), self.n)
        columns |= {name: tensor.flatten().numpy() for name, tensor in self.extras.items()}
        return pd.DataFrame(columns, copy=True)

    def _extra(self, name: str, values: Any) -> Tensor:
        if not isinstance(name, str) or not name or name in {*self.axes, *COLUMNS}:
            raise InputError(f"extras: expected a name other than {', '.join((*self.axes, *COLUMNS))}, got {name!r}")
        tensor = checks.plain_tensor(f"extras[{name!r}]", values)
        checks.check_shape(f"extras[{name!r}]", tensor, self.axes, self.shape)
        return tensor

    def __repr__(self) -> str:
        sizes = " × ".join(f"{size} {axis}s" for axis, size in zip(self.axes, self.shape, strict=True))
        best = "".join(f", highest {self.label(*position)} {value:.3f}" for *position, value in self.top(1))
        return f"{type(self).__name__}({self._heading()}, {sizes}{best})"

    def _repr_html_(self) -> str:
        stderr = self.stderr if self.n > 2 else None
        columns = [self.axes[-1], "value"] if stderr is None else [self.axes[-1], "value", "standard error"]
        rows = []
        for *position, value in self.top(SHOWN):
            cells = [self.label(*position), f"{value:.4f}"]
            rows.append(cells if stderr is None else [*cells, error_text(stderr[tuple(position)].item())])
        return html_table(
            f"{self._heading()}: the highest {len(rows)} of {int((~self.values.isnan()).sum())}", columns, rows
        )

    def _heading(self) -> str:
        """Return measure, definition and count: `prefix_matching (successor), n = 100`."""
        definition = f" ({self.definition})" if self.definition else ""
        return f"{self.measure or 'scores'}{definition}, n = {self.n}"


@dataclass(frozen=True, eq=False, repr=False)
class HeadScores(Scores):
    """One number per attention head, measured over `n` sequences or examples.

    Tensors, NumPy arrays and nested lists become float32 tensors on the CPU that share no memory with the caller's. NaN
    stands for a head that was not measured.

    Attributes:
        values: The mean over sequences or examples.
        variance: Unbiased variance over sequences or examples, at least 0; NaN where a single one gives none.
        n: The number of sequences or examples, at least 1.
        folds: The same measurement on interleaved parts of the data, for intervals that resample examples.
        measure: The name of the measure, such as `"prefix_matching"`, `"copying"` or `"head_importance"`.
        definition: The one of its definitions that was used, such as `"successor"`.
        extras: Other numbers per head, measured on the way, such as `"self_attention"`.
        provenance: Everything that is needed to measure it again, as JSON can hold it.
        by_length: Mean scores of sequences of similar length, the shortest first, where lengths differ by design.
        lengths: The mean number of tokens of each such group.

    Raises:
        InputError: A field is not what its annotation says, shapes do not fit each other, a number is beyond float32,
            `n` is below 1, or `provenance` has no JSON form.
    """

    axes: ClassVar[tuple[str, ...]] = ("layer", "head")

    values: Float[Tensor, "layer head"]
    variance: Float[Tensor, "layer head"] | None = None
    n: int = 1
    folds: Float[Tensor, "fold layer head"] | None = None
    measure: str = ""
    definition: str = ""
    extras: dict[str, Float[Tensor, "layer head"]] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    by_length: Float[Tensor, "length layer head"] | None = None
    lengths: Float[Tensor, " length"] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        groups = None if self.by_length is None else len(self.by_length)
        self._adopt("by_length", ["length", *self.axes], [None, *self.shape], optional=True)
        self._adopt("lengths", ["length"], [groups], optional=True)
        if (self.by_length is None) != (self.lengths is None):
            raise InputError("expected by_length and lengths together, got one without the other: pass both or neither")

    def _heading(self) -> str:
        """Return measure, definition, count and lengths: `prefix_matching (successor), n = 100, 101 to 893 tokens`."""
        return f"{super()._heading()}{self.length_range}"

    @property
    def length_range(self) -> str:
        """The range of the sequences' lengths, to stand after `n`: `, 101 to 893 tokens`; empty where none is known."""
        match self.provenance.get("n_tokens"):
            case [int(shortest), int(longest)] if shortest < longest:
                return f", {shortest} to {longest} tokens"
            case _:
                return ""


@dataclass(frozen=True, eq=False, repr=False)
class LayerScores(Scores):
    """One number per layer, such as the importance of its feed-forward network; else as `HeadScores`.

    Raises:
        InputError: As of `HeadScores`.
    """

    axes: ClassVar[tuple[str, ...]] = ("layer",)

    values: Float[Tensor, " layer"]
    variance: Float[Tensor, " layer"] | None = None
    n: int = 1
    folds: Float[Tensor, "fold layer"] | None = None
    measure: str = ""
    definition: str = ""
    extras: dict[str, Float[Tensor, " layer"]] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False, repr=False)
class ExpertScores(Scores):
    """One number per expert of a mixture of experts; else as `HeadScores`.

    Layers that are no mixture have NaN.

    Raises:
        InputError: As of `HeadScores`.
    """

    axes: ClassVar[tuple[str, ...]] = ("layer", "expert")

    values: Float[Tensor, "layer expert"]
    variance: Float[Tensor, "layer expert"] | None = None
    n: int = 1
    folds: Float[Tensor, "fold layer expert"] | None = None
    measure: str = ""
    definition: str = ""
    extras: dict[str, Float[Tensor, "layer expert"]] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False, repr=False)
class PairScores(Scores):
    """One number per pair of an earlier head and a later one, such as their composition; else as `HeadScores`.

    NaN stands for pairs of which the second is not in a later layer.

    Attributes:
        baseline: The score of a pair without any relation; `definition` and `provenance` say how it is meant.

    Raises:
        InputError: As of `HeadScores`, or the four axes are not those of one model.
    """

    axes: ClassVar[tuple[str, ...]] = ("layer", "head", "later_layer", "later_head")

    values: Float[Tensor, "layer head later_layer later_head"]
    variance: Float[Tensor, "layer head later_layer later_head"] | None = None
    n: int = 1
    folds: Float[Tensor, "fold layer head later_layer later_head"] | None = None
    measure: str = ""
    definition: str = ""
    extras: dict[str, Float[Tensor, "layer head later_layer later_head"]] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    baseline: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.shape[:2] != self.shape[2:]:
            raise InputError(f"values: expected [layer, head, later_layer, later_head] of one model, got {self.shape}")

    def earlier_heads(self, layer: int, head: int, k: int = 3) -> list[tuple[int, int, float]]:
        """Return the earlier heads that a head goes with best: (layer, head, value), the highest first."""
        return self._best(self.values[:, :, layer, head], k)

    def later_heads(self, layer: int, head: int, k: int = 3) -> list[tuple[int, int, float]]:
        """Return the later heads that go with a head best: (layer, head, value), the highest first."""
        return self._best(self.values[layer, head], k)

    def label(self, *position: int) -> str:
        """Return the usual short name of a pair: `L16H0 → L18H6`."""
        layer, head, later_layer, later_head = position
        return f"L{layer}H{head} → L{later_layer}H{later_head}"

    def _best(self, values: Float[Tensor, "layer head"], k: int) -> list[tuple[int, int, float]]:
        return HeadScores(values).top(k)
