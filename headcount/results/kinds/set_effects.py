"""Accuracy without whole sets of heads, each beside random sets with as many heads in each layer."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from jaxtyping import Float
from torch import Tensor

from headcount.results.errors import InputError
from headcount.results.kinds.accuracy import mean_and_stderr
from headcount.results.storage import checks, field_types
from headcount.results.storage.stored import Stored

if TYPE_CHECKING:
    import pandas as pd

SET_MEASURES = {"accuracy": "correct", "exact_match": "greedy", "log_p": "gold_log_p"}
"""The measures of an effect, and the fields that hold them by document."""


class Contrast(NamedTuple):
    """The mean of a paired difference over documents, one value a set, and its standard error."""

    mean: Float[Tensor, " set"]
    stderr: Float[Tensor, " set"]


@dataclass(frozen=True, eq=False, repr=False)
class SetEffects(Stored):
    """Answers to a task's documents without sets of heads, and without random sets that are matched to them.

    Attributes:
        kinds: The kind of each set's heads, such as `induction`.
        percents: The share of all heads that the kind's highest ones were taken from.
        without_others: True for a set without the highest heads of the other kinds.
        heads: The heads of each set: 1, else 0.
        correct: 1 for each unit that is right; draw 0 is the set, the further ones the random sets matched to it.
        greedy: 1 for each document that greedy decoding gets right, as in `Accuracy`.
        gold_log_p: Log-probability of each document's right continuation, in nats.
        whole_correct: `correct` of the whole model.
        whole_greedy: `greedy` of the whole model.
        whole_gold_log_p: `gold_log_p` of the whole model.
        provenance: Everything that is needed to measure it again, as JSON can hold it.

    Raises:
        InputError: A field is not what its annotation says, or shapes do not fit each other.
    """

    kinds: tuple[str, ...]
    percents: tuple[float, ...]
    without_others: tuple[bool, ...]
    heads: Float[Tensor, "set layer head"]
    correct: Float[Tensor, "set draw unit"]
    greedy: Float[Tensor, "set draw document"]
    gold_log_p: Float[Tensor, "set draw document"]
    whole_correct: Float[Tensor, " unit"]
    whole_greedy: Float[Tensor, " document"]
    whole_gold_log_p: Float[Tensor, " document"]
    provenance: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        field_types.check_fields(self)
        self._copy_fields()
        sets = len(self.kinds)
        self._adopt("whole_correct", ["unit"], [None])
        self._adopt("whole_gold_log_p", ["document"], [None])
        units, documents = len(self.whole_correct), len(self.whole_gold_log_p)
        self._adopt("whole_greedy", ["document"], [documents])
        self._adopt("heads", ["set", "layer", "head"], [sets, None, None])
        self._adopt("gold_log_p", ["set", "draw", "document"], [sets, None, documents])
        draws = self.gold_log_p.shape[1]
        self._adopt("greedy", ["set", "draw", "document"], [sets, draws, documents])
        self._adopt("correct", ["set", "draw", "unit"], [sets, draws, units])
        if not sets == len(self.percents) == len(self.without_others) or draws < 3:
            raise InputError(
                f"expected one percentage and one truth value for each of {sets} sets, each with two random sets or "
                f"more, got {len(self.percents)}, {len(self.without_others)} and {draws - 1}"
            )

    @property
    def n(self) -> int:
        """The number of documents."""
        return len(self.whole_gold_log_p)

    def answers(self, measure: str) -> Float[Tensor, "set draw document"]:
        """Return a measure of every document without each set (draw 0) and the random sets matched to it.

        Args:
            measure: One of `SET_MEASURES`: `accuracy`, `exact_match`, or `log_p` in nats.
        """
        checks.check_one_of("measure", measure, tuple(SET_MEASURES))
        values: Float[Tensor, "set draw document"] = getattr(self, SET_MEASURES[measure])
        return values

    def whole_answers(self, measure: str) -> Float[Tensor, " document"]:
        """Return a measure of every document with the whole model; arguments as of `answers`."""
        checks.check_one_of("measure", measure, tuple(SET_MEASURES))
        values: Float[Tensor, " document"] = getattr(self, f"whole_{SET_MEASURES[measure]}")
        return values

    def value(self, measure: str) -> Contrast:
        """Return a measure without each set, and its standard error over documents; arguments as of `answers`."""
        return Contrast(*mean_and_stderr(self.answers(measure)[:, 0]))

    def drop(self, measure: str) -> Contrast:
        """Return the fall of a measure from the whole model, paired by document."""
        return Contrast(*mean_and_stderr(self.whole_answers(measure) - self.answers(measure)[:, 0]))

    def random_value(self, measure: str) -> Contrast:
        """Return the mean over the random sets, and its standard deviation from one random set to another."""
        by_draw = self.answers(measure)[:, 1:].mean(-1)
        return Contrast(by_draw.mean(-1), by_draw.std(-1))

    def beyond_random(self, measure: str) -> Contrast:
        """Return the fall of a measure beyond the mean fall without the random sets, paired by document."""
        values = self.answers(measure)
        return Contrast(*mean_and_stderr(values[:, 1:].mean(1) - values[:, 0]))

    def to_frame(self) -> "pd.DataFrame":
        """Return a tidy table, one row a set and measure.

        Returns:
            Columns: `kind`, `percent`, `without_others`, `heads` (their number), `measure`, `whole`, `value`, `stderr`,
            `drop`, `drop_stderr`, `random`, `random_spread`, `beyond_random` and `beyond_random_stderr`.
        """
        import pandas as pd

        tables = []
        for measure in SET_MEASURES:
            columns = {"whole": self.whole_answers(measure).mean().expand(len(self.kinds))}
            columns |= zip(("value", "stderr"), self.value(measure), strict=True)
            columns |= zip(("drop", "drop_stderr"), self.drop(measure), strict=True)
            columns |= zip(("random", "random_spread"), self.random_value(measure), strict=True)
            columns |= zip(("beyond_random", "beyond_random_stderr"), self.beyond_random(measure), strict=True)
            sets = pd.DataFrame({"kind": self.kinds, "percent": self.percents, "without_others": self.without_others})
            sets = sets.assign(heads=self.heads.sum((1, 2)).int().numpy(), measure=measure)
            tables.append(sets.assign(**{name: values.numpy() for name, values in columns.items()}))
        return pd.concat(tables, ignore_index=True)

    def __repr__(self) -> str:
        task = self.provenance.get("task", "")
        return f"SetEffects({task}: {len(self.kinds)} sets of heads, {', '.join(dict.fromkeys(self.kinds))})"
