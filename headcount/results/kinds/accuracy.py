"""How many documents of a task a model gets right, with everything that a verdict on it needs."""

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from jaxtyping import Float
from torch import Tensor

from headcount.results.storage import checks, field_types, files
from headcount.results.storage.stored import Stored

NUMBERS = ("value", "stderr", "chance", "majority")
PER_DOCUMENT = ("correct", "choice", "gold_log_p", "margin")


def beats_guessing(value: float, stderr: float, *guesses: float) -> bool:
    """Whether an accuracy exceeds what guessing and the best constant answer give by more than two standard errors.

    Args:
        value: The accuracy.
        stderr: Its standard error; NaN, that of a single document, settles nothing.
        guesses: What it has to exceed; NaN where there is no such guess.
    """
    return value - 2 * stderr > max(guess for guess in (*guesses, 0.0) if not math.isnan(guess))


@dataclass(frozen=True, eq=False, repr=False)
class Accuracy(Stored):
    """Accuracy on a task, and what it is made of.

    Attributes:
        value: The share of units (documents; whole questions where a task is scored so) that are right.
        stderr: Its standard error over units, sqrt(s² / n); NaN for a single unit.
        n: The number of units.
        chance: What guessing gives.
        majority: What always giving the most frequent answer gives; NaN where answers have no common names.
        correct: 1 for each unit that is right, 0 for the others; NaN where the model's log-likelihoods are NaN.
        choice: The request chosen in each document; -1 where there is nothing to choose.
        gold_log_p: Log-probability of each document's right continuation (the likeliest one if several are), in nats.
        margin: That less the log-probability of the best wrong one; NaN where there is none.
        cut: In how many documents a context was too long and was cut from the left.
        provenance: What is needed to measure it again, as JSON can hold it.

    Raises:
        InputError: A field is not what its annotation says, or shapes or counts do not fit.
    """

    suffix: ClassVar[str] = ".safetensors"

    value: float
    stderr: float
    n: int
    chance: float
    majority: float
    correct: Float[Tensor, " unit"]
    choice: Float[Tensor, " document"]
    gold_log_p: Float[Tensor, " document"]
    margin: Float[Tensor, " document"]
    cut: int = 0
    provenance: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        checks.check_count("n", self.n)
        field_types.check_fields(self)
        self._adopt("correct", ["unit"], [self.n])
        self._adopt("gold_log_p", ["document"], [None])
        for name in ("choice", "margin"):
            self._adopt(name, ["document"], list(self.gold_log_p.shape))
        for name in NUMBERS:
            self._set(name, float(getattr(self, name)))
        self._set("provenance", checks.json_dict("provenance", self.provenance))

    @property
    def beats_guessing(self) -> bool:
        """Whether it exceeds chance and majority by more than two standard errors."""
        return beats_guessing(self.value, self.stderr, self.chance, self.majority)

    def __repr__(self) -> str:
        asked = [str(self.provenance[name]) for name in ("task",) if name in self.provenance]
        asked += [f"{self.provenance['shots']} shots"] if "shots" in self.provenance else []
        value = f"{self.value:.3f} ± {self.stderr:.3f}, n = {self.n}, chance {self.chance:.3f}"
        return f"Accuracy({', '.join([*asked, value])})"

    def to_frame(self) -> pd.DataFrame:
        """A tidy table, one row a document: `document`, `choice`, `gold_log_p`, `margin`."""
        columns = {name: getattr(self, name).numpy() for name in ("choice", "gold_log_p", "margin")}
        return pd.DataFrame({"document": np.arange(len(self.gold_log_p)), **columns}, copy=True)

    def to_content(self) -> files.Content:
        """What a file holds of this: tensors by name, and all the rest as fields."""
        numbers = {name: str(getattr(self, name)) for name in NUMBERS}
        rest = {"n": self.n, "cut": self.cut, "provenance": self.provenance}
        return files.Content(type(self).__name__, numbers | rest, {name: getattr(self, name) for name in PER_DOCUMENT})

    @classmethod
    def arguments(cls, content: files.Content) -> dict[str, Any]:
        """The arguments that make the same object again from a file's content."""
        numbers = {name: checks.number(name, content.fields[name]) for name in NUMBERS}
        return {**content.fields, **numbers, **content.tensors}
