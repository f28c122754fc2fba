"""Accuracy on a task: the share of documents that a model gets right, with all that a verdict on it needs."""

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from headcount.results.presentation.number_text import shown_error, with_error
from headcount.results.storage import checks, field_types
from headcount.results.storage.stored import Stored

if TYPE_CHECKING:
    import pandas as pd


def beats_guessing(value: float, stderr: float, *guesses: float) -> bool:
    """Return True if an accuracy exceeds guessing and the best constant answer by more than two standard errors.

    Args:
        value: The accuracy.
        stderr: Its standard error; NaN, that of a single document, settles nothing.
        guesses: The accuracies that it has to exceed; NaN for a guess that does not exist.
    """
    return value - 2 * stderr > max(guess for guess in (*guesses, 0.0) if not math.isnan(guess))


def mean_and_stderr(values: Float[Tensor, "*axes unit"]) -> tuple[Float[Tensor, "*axes"], Float[Tensor, "*axes"]]:
    """Return the mean over units and its standard error, sqrt(s² / n), which is NaN for a single unit."""
    mean, n = values.mean(-1), values.shape[-1]
    return mean, values.std(-1) / math.sqrt(n) if n > 1 else torch.full_like(mean, torch.nan)


@dataclass(frozen=True, eq=False, repr=False)
class Accuracy(Stored):
    """Accuracy on a task, and the answers that it is the mean of.

    Attributes:
        value: The share of units (documents; whole questions where a task is scored so) that are right.
        stderr: Its standard error over units, sqrt(s² / n); NaN for a single unit.
        n: The number of units.
        chance: The accuracy of guessing.
        majority: The accuracy of always giving the most frequent answer; NaN where answers have no common names.
        correct: 1 for each unit that is right, 0 for the others; NaN where the model's log-likelihoods are NaN.
        choice: The request chosen in each document; -1 where there is nothing to choose.
        gold_log_p: Log-probability of each document's right continuation (the likeliest one if several are), in nats.
        margin: That less the log-probability of the best wrong one; NaN where there is none.
        greedy: 1 for each document whose right continuation the model would write by itself, the likeliest token at
            each place, else 0; NaN where the choices stand after contexts of their own. None in results of earlier
            versions.
        cut: The number of documents whose context was too long and was cut from the left.
        ties: The number of documents in which several choices are exactly as likely; the first of them counts.
        merged: The number of documents in which the tokenizer joins the end of a context with the beginning of its
            continuation, so that only a part of the continuation is scored.
        first_merged: The row of the first of these, counted from 0; -1 if there is none.
        provenance: Everything that is needed to measure it again, as JSON can hold it.

    Raises:
        InputError: A field is not what its annotation says, or shapes or counts do not fit.
    """

    value: float
    stderr: float
    n: int
    chance: float
    majority: float
    correct: Float[Tensor, " unit"]
    choice: Float[Tensor, " document"]
    gold_log_p: Float[Tensor, " document"]
    margin: Float[Tensor, " document"]
    greedy: Float[Tensor, " document"] | None = None
    cut: int = 0
    ties: int = 0
    merged: int = 0
    first_merged: int = -1
    provenance: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        checks.check_count("n", self.n)
        field_types.check_fields(self)
        self._copy_fields()
        self._adopt("correct", ["unit"], [self.n])
        self._adopt("gold_log_p", ["document"], [None])
        for name in ("choice", "margin"):
            self._adopt(name, ["document"], list(self.gold_log_p.shape))
        self._adopt("greedy", ["document"], list(self.gold_log_p.shape), optional=True)

    @property
    def exact_match(self) -> tuple[float, float]:
        """The share of documents that greedy decoding gets right, and its standard error; NaN where it has no meaning.

        It falls before the accuracy of a choice does: the right answer may be likelier than the wrong ones long after
        it has ceased to be the likeliest of all.
        """
        if self.greedy is None:
            return math.nan, math.nan
        value, stderr = mean_and_stderr(self.greedy)
        return float(value), float(stderr)

    @property
    def remarks(self) -> list[str]:
        """Remarks on documents that were cut, that tie, or that are scored in part."""
        merged = f"{self.merged} scored in part (first row {self.first_merged}, joined with its context)"
        counts = ((self.cut, f"{self.cut} cut"), (self.ties, f"{self.ties} exact ties"), (self.merged, merged))
        return [text for count, text in counts if count]

    @property
    def beats_guessing(self) -> bool:
        """True if it exceeds chance and majority by more than two standard errors."""
        return beats_guessing(self.value, self.stderr, self.chance, self.majority)

    def to_frame(self) -> "pd.DataFrame":
        """Return a tidy table, one row a document: `document`, `choice`, `gold_log_p`, `margin`, `greedy` if known."""
        import pandas as pd

        names = ("choice", "gold_log_p", "margin", *(() if self.greedy is None else ("greedy",)))
        columns = {name: getattr(self, name).numpy() for name in names}
        return pd.DataFrame({"document": np.arange(len(self.gold_log_p)), **columns}, copy=True)

    def __repr__(self) -> str:
        setting = [str(self.provenance[name]) for name in ("task",) if name in self.provenance]
        setting += [f"{self.provenance['shots']} shots"] if "shots" in self.provenance else []
        value = f"{with_error(self.value, shown_error(self.stderr, self.n))}, n = {self.n}, chance {self.chance:.3f}"
        return f"Accuracy({', '.join([*setting, value, *self.remarks])})"
