"""Places in a text at which heads score high, in the middle and low: examples from the whole distribution."""

from dataclasses import dataclass
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor

from headcount.results.errors import InputError
from headcount.results.storage import field_types
from headcount.results.storage.stored import Stored

LEVELS = ("highest", "90 %", "50 %", "10 %")
"""The places of the sequences of an example in the order of a head's scores: the highest, and percentiles."""


class AttendedToken(NamedTuple):
    """A token that a query attends to: its position, its text, and the attention, 0 to 1."""

    position: int
    token: str
    attention: float


class TextExample(NamedTuple):
    """One sequence as an example of a head's score.

    Attributes:
        level: One of `LEVELS`.
        sequence: The sequence's number among those of the text.
        value: The head's score on the sequence.
        tokens: The text of each of its tokens.
        query: The position of the query at which the score is highest in it.
        attended: The tokens that this query attends to most, the strongest first.
    """

    level: str
    sequence: int
    value: float
    tokens: tuple[str, ...]
    query: int
    attended: tuple[AttendedToken, ...]


@dataclass(frozen=True, eq=False, repr=False)
class TextExamples(Stored):
    """For each score and head the sequences of a text at four levels of the score, each with a query.

    Attributes:
        scores: The names of the scores.
        sequence: The number of the sequence; NaN for a head that was not measured.
        value: The head's score on it.
        query: The position of the query at which the score is highest in that sequence.
        key: The positions that this query attends to most, the strongest first.
        attention: The attention to each of them; 0 for one that does not exist.
        vocabulary: The texts of the tokens that occur.
        tokens: For each sequence the number of each token in `vocabulary`; -1 behind its end, or for a sequence
            that is no example.

    Raises:
        InputError: A field is not what its annotation says, or shapes do not fit each other.
    """

    scores: tuple[str, ...]
    sequence: Float[Tensor, "score level layer head"]
    value: Float[Tensor, "score level layer head"]
    query: Float[Tensor, "score level layer head"]
    key: Float[Tensor, "score level layer head place"]
    attention: Float[Tensor, "score level layer head place"]
    vocabulary: tuple[str, ...]
    tokens: Float[Tensor, "sequence pos"]

    def __post_init__(self) -> None:
        field_types.check_fields(self)
        self._copy_fields()
        axes = ["score", "level", "layer", "head"]
        self._adopt("sequence", axes, [len(self.scores), len(LEVELS), None, None])
        shape = list(self.sequence.shape)
        for name in ("value", "query"):
            self._adopt(name, axes, shape)
        self._adopt("key", [*axes, "place"], [*shape, None])
        self._adopt("attention", [*axes, "place"], list(self.key.shape))
        self._adopt("tokens", ["sequence", "pos"], [None, None])
        numbers = self.tokens
        if bool((numbers >= len(self.vocabulary)).any()) or bool((self.sequence >= len(numbers)).any()):
            raise InputError("expected tokens of the vocabulary and sequences that there are, got numbers beyond them")

    def of(self, score: str, layer: int, head: int) -> tuple[TextExample, ...]:
        """Return the examples of a head by a score, the highest first; none for a head that was not measured.

        Raises:
            InputError: There is no such score or head.
        """
        if score not in self.scores:
            raise InputError(f"expected one of {', '.join(self.scores)}, got {score!r}")
        n_layers, n_heads = self.sequence.shape[2:]
        if not (0 <= layer < n_layers and 0 <= head < n_heads):
            raise InputError(f"expected a head of {n_layers} layers of {n_heads} heads, got L{layer}H{head}")
        place = self.scores.index(score)
        return tuple(
            self._example(name, place, level, layer, head)
            for level, name in enumerate(LEVELS)
            if not self.sequence[place, level, layer, head].isnan()
        )

    def _example(self, level: str, *place: int) -> TextExample:
        sequence = int(self.sequence[place])
        tokens = tuple(self.vocabulary[int(number)] for number in self.tokens[sequence].tolist() if number >= 0)
        pairs = zip(self.key[place].tolist(), self.attention[place].tolist(), strict=True)
        attended = tuple(AttendedToken(int(key), tokens[int(key)], weight) for key, weight in pairs if weight > 0)
        return TextExample(level, sequence, self.value[place].item(), tokens, int(self.query[place]), attended)

    def __repr__(self) -> str:
        return f"TextExamples({len(self.tokens)} sequences, {', '.join(self.scores)})"
