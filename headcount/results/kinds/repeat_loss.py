"""The in-context learning score: what a model gains from having seen a sequence before."""

from dataclasses import dataclass, field
from math import isfinite
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from jaxtyping import Float
from torch import Tensor

from headcount.results.storage import checks, field_types, files
from headcount.results.storage.stored import Stored


@dataclass(frozen=True, eq=False)
class RepeatLoss(Stored):
    """The in-context learning score: how the loss falls when a sequence comes again.

    Attributes:
        loss: Mean loss in nats per token on each repeat, the first one first.
        variance: Its unbiased variance over sequences; NaN where a single one gives none.
        n: The number of sequences, at least 1.
        late_minus_early: Loss late in the sequence minus loss early in it, in nats per token; below 0 if the model
            learns from its context.
        late_minus_early_stderr: Standard error of that difference over sequences, NaN if there is a single one.
        provenance: What is needed to measure it again, as JSON can hold it.

    Raises:
        InputError: A field is not what its annotation says, shapes do not fit each other, `n` is below 1, or
            `provenance` has no JSON form.
    """

    suffix: ClassVar[str] = ".json"

    loss: Float[Tensor, " repeat"]
    variance: Float[Tensor, " repeat"] | None
    n: int
    late_minus_early: float
    late_minus_early_stderr: float
    provenance: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        checks.check_count("n", self.n)
        field_types.check_fields(self)
        self._adopt("loss", ["repeat"], [None])
        self._adopt("variance", ["repeat"], list(self.loss.shape), optional=True)
        checks.check_variance(self.variance)
        self._set("late_minus_early", float(self.late_minus_early))
        self._set("late_minus_early_stderr", float(self.late_minus_early_stderr))
        self._set("provenance", checks.json_dict("provenance", self.provenance))

    @property
    def stderr(self) -> Float[Tensor, " repeat"] | None:
        """Standard error of each loss, sqrt(variance / n); None without a variance."""
        return None if self.variance is None else (self.variance / self.n).sqrt()

    def to_frame(self) -> pd.DataFrame:
        """A tidy table, one row a repeat: `repeat` (from 1), `loss`, `stderr` (NaN where unknown) and `n`."""
        repeats = np.arange(1, len(self.loss) + 1)
        stderr = np.full(len(repeats), np.nan) if self.stderr is None else self.stderr.numpy()
        return pd.DataFrame({"repeat": repeats, "loss": self.loss.numpy(), "stderr": stderr, "n": self.n})

    def to_content(self) -> files.Content:
        """What a file holds of this: numbers and lists of numbers, no tensor."""
        kept = {
            "loss": _to_json(self.loss),
            "variance": None if self.variance is None else _to_json(self.variance),
            "n": self.n,
            "late_minus_early": _number(self.late_minus_early),
            "late_minus_early_stderr": _number(self.late_minus_early_stderr),
            "provenance": self.provenance,
        }
        return files.Content(type(self).__name__, kept)

    @classmethod
    def arguments(cls, content: files.Content) -> dict[str, Any]:
        """The arguments that make the same object again from a file's content."""
        kept = dict(content.fields)
        for name in ("loss", "variance"):
            field_types.check_field(name, kept[name], tuple[float | str, ...] | None)
            kept[name] = None if kept[name] is None else [checks.number(name, value) for value in kept[name]]
        numbers = ("late_minus_early", "late_minus_early_stderr")
        return kept | {name: checks.number(name, kept[name]) for name in numbers}


def _to_json(tensor: Float[Tensor, " repeat"]) -> list[float | str]:
    return [_number(value) for value in tensor.tolist()]


def _number(value: float) -> float | str:
    """A number as JSON holds it: NaN and infinities, which JSON lacks, as the words that `float` reads."""
    return value if isfinite(value) else str(value)
