"""The in-context learning score: the loss that a model saves on a sequence that it has seen before."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from jaxtyping import Float
from torch import Tensor

from headcount.results.storage import checks, field_types
from headcount.results.storage.stored import JSON, Stored

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class RepeatLoss(Stored):
    """The in-context learning score: the fall of the loss when a sequence is repeated.

    Attributes:
        loss: Mean loss in nats per token on each repeat, the first one first.
        variance: Its unbiased variance over sequences; NaN where a single one gives none.
        n: The number of sequences, at least 1.
        late_minus_early: Loss late in the sequence minus loss early in it, in nats per token; below 0 if the model
            learns from its context.
        late_minus_early_stderr: Standard error of that difference over sequences, NaN if there is a single one.
        provenance: Everything that is needed to measure it again, as JSON can hold it.

    Raises:
        InputError: A field is not what its annotation says, shapes do not fit each other, `n` is below 1, or
            `provenance` has no JSON form.
    """

    suffix: ClassVar[str] = JSON

    loss: Float[Tensor, " repeat"]
    variance: Float[Tensor, " repeat"] | None
    n: int
    late_minus_early: float
    late_minus_early_stderr: float
    provenance: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        checks.check_count("n", self.n)
        field_types.check_fields(self)
        self._copy_fields()
        self._adopt("loss", ["repeat"], [None])
        self._adopt("variance", ["repeat"], list(self.loss.shape), optional=True)
        checks.check_variance(self.variance)

    @property
    def stderr(self) -> Float[Tensor, " repeat"] | None:
        """Standard error of each loss, sqrt(variance / n); None without a variance."""
        return None if self.variance is None else (self.variance / self.n).sqrt()

    def to_frame(self) -> "pd.DataFrame":
        """Return a tidy table, one row a repeat: `repeat` (from 1), `loss`, `stderr` (NaN where unknown) and `n`."""
        import pandas as pd

        repeats = np.arange(1, len(self.loss) + 1)
        stderr = np.full(len(repeats), np.nan) if self.stderr is None else self.stderr.numpy()
        return pd.DataFrame({"repeat": repeats, "loss": self.loss.numpy(), "stderr": stderr, "n": self.n})
