"""One attention head at a glance: how it scores, where it looks on a text, and what it writes for the text's tokens."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from jaxtyping import Float
from torch import Tensor

from headcount.results.errors import InputError
from headcount.results.kinds import notebook_table
from headcount.results.kinds.scores import HeadScores
from headcount.results.storage import checks, field_types, files
from headcount.results.storage.stored import Stored

PER_QUERY = ("entropy", "relative_entropy")
PER_SOURCE = ("raised_logits", "lowered_logits", "own_logit", "own_rank")
ROUNDING = 1e-3  # of the sum of a row of attention


@dataclass(frozen=True)
class Standing:
    """A head's score by one measure, and its place among all heads.

    Attributes:
        value: The score.
        stderr: Its standard error; NaN where it is unknown.
        rank: 1 for the highest score, ties in the order of (layer, head); None for a head that was not measured.
        among: How many heads were measured.
        n: Over how many sequences or examples.
        definition: Which definition of the measure was used.

    Raises:
        InputError: A field is not what its annotation says.
    """

    value: float
    stderr: float
    rank: int | None
    among: int
    n: int
    definition: str

    def __post_init__(self) -> None:
        field_types.check_fields(self)

    @classmethod
    def of(cls, scores: HeadScores, layer: int, head: int) -> "Standing":
        """Where a head stands in a map of scores."""
        order = [place for *place, _ in scores.top(scores.values.numel())]
        rank = order.index([layer, head]) + 1 if [layer, head] in order else None
        stderr = float("nan") if scores.stderr is None else scores.stderr[layer, head].item()
        return cls(scores.values[layer, head].item(), stderr, rank, len(order), scores.n, scores.definition)


@dataclass(frozen=True, eq=False, repr=False)
class HeadProfile(Stored):
    """One head on one text.

    Position 0 is where many heads put the attention that they have no other use for; it is kept apart as the sink.

    Attributes:
        layer: The head's layer, from 0.
        head: Its place in the layer, from 0.
        text: What the model read.
        tokens: The text of each token read, special ones included.
        pattern: Attention of each query to each key; every row sums to 1.
        by_lag: Mean attention to the token so many positions back (0: to itself), over the queries for which that is
            not position 0; NaN for the last lag, which no other query has.
        sink: Mean attention to position 0, over all queries but that position's own; NaN for a single token.
        entropy: Entropy of each query's attention in nats, 0 to log(number of keys it may attend to).
        relative_entropy: The same as a share of that maximum, 0 to 1; NaN where there is one key only.
        sources: The distinct tokens of the text, in the order of their first appearance.
        raised: For each of them the tokens whose logits the head raises most when it attends to that token alone.
        raised_logits: By how much, above the mean over the vocabulary; the largest first.
        lowered: The tokens whose logits it lowers most.
        lowered_logits: By how much; the lowest first.
        own_logit: What it does to the logit of the token attended to, above the mean over the vocabulary.
        own_rank: The rank of that token among the vocabulary, 1 if it is raised most.
        vocab: How many tokens the vocabulary has.
        standings: Its scores and ranks by measure.
        provenance: What is needed to measure it again, as JSON can hold it.

    Raises:
        InputError: A field is not what its annotation says, shapes do not fit each other, a row of the pattern does not
            sum to 1, or a rank is not from 1 to `vocab`.
    """

    layer: int
    head: int
    text: str
    tokens: tuple[str, ...]
    pattern: Float[Tensor, "query key"]
    by_lag: Float[Tensor, " lag"]
    sink: float
    entropy: Float[Tensor, " query"]
    relative_entropy: Float[Tensor, " query"]
    sources: tuple[str, ...]
    raised: tuple[tuple[str, ...], ...]
    raised_logits: Float[Tensor, "source place"]
    lowered: tuple[tuple[str, ...], ...]
    lowered_logits: Float[Tensor, "source place"]
    own_logit: Float[Tensor, " source"]
    own_rank: Float[Tensor, " source"]
    vocab: int
    standings: Mapping[str, Standing] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)

    suffix: ClassVar[str] = ".safetensors"

    def __post_init__(self) -> None:
        checks.check_count("vocab", self.vocab)
        field_types.check_fields(self)
        for name in ("tokens", "sources"):
            self._set(name, tuple(getattr(self, name)))
        length, sources = len(self.tokens), len(self.sources)
        self._adopt("pattern", ["query", "key"], [length, length])
        self._adopt("by_lag", ["lag"], [length])
        for name in PER_QUERY:
            self._adopt(name, ["query"], [length])
        for name in ("raised", "lowered"):
            self._adopt(f"{name}_logits", ["source", "place"], [sources, None])
            self._set(name, _words(name, getattr(self, name), tuple(getattr(self, f"{name}_logits").shape)))
        for name in ("own_logit", "own_rank"):
            self._adopt(name, ["source"], [sources])
        self._set("sink", float(self.sink))
        self._set("standings", dict(self.standings))
        self._set("provenance", checks.json_dict("provenance", self.provenance))
        if not bool(((self.own_rank >= 1) & (self.own_rank <= self.vocab)).all()):
            raise InputError(f"own_rank: expected ranks from 1 to {self.vocab}, got {field_types.shown(self.own_rank)}")
        if not (((total := self.pattern.sum(-1)) - 1).abs() <= ROUNDING).all():  # nor is NaN
            raise InputError(f"pattern: expected rows that sum to 1, got {total.min().item():g} to {total.max():g}")

    @property
    def label(self) -> str:
        """The field's short name of the head: `L18H6`."""
        return f"L{self.layer}H{self.head}"

    def __repr__(self) -> str:
        ranks = [f"{measure} {item.value:.3f} (rank {item.rank})" for measure, item in self.standings.items()]
        return f"HeadProfile({', '.join([self.label, f'{len(self.tokens)} tokens', *ranks])})"

    def _repr_html_(self) -> str:
        columns = ["measure", "value", "rank"]
        rows = [
            [name, f"{item.value:.4f}", f"{item.rank or 'n/a'} of {item.among}"]
            for name, item in self.standings.items()
        ]
        rows += [["attention to position 0", f"{self.sink:.4f}", ""]]
        rows += [["entropy, share of the most possible", f"{self.relative_entropy.nanmean().item():.4f}", ""]]
        return notebook_table.table(f"{self.label} on {len(self.tokens)} tokens", columns, rows)

    def to_frame(self) -> pd.DataFrame:
        """A tidy table, one row a query.

        Returns:
            Columns: `position`, `token`, `attention_to_first` (position 0), `attends_to` (the position it attends to
            most), `attended_token`, `attention` (how much), `entropy` (nats), `relative_entropy`.
        """
        most, where = self.pattern.max(-1)
        columns = {
            "position": np.arange(len(self.tokens)),
            "token": self.tokens,
            "attention_to_first": self.pattern[:, 0].numpy(),
            "attends_to": where.numpy(),
            "attended_token": [self.tokens[key] for key in where.tolist()],
            "attention": most.numpy(),
        }
        return pd.DataFrame(columns | {name: getattr(self, name).numpy() for name in PER_QUERY}, copy=True)

    def written_frame(self) -> pd.DataFrame:
        """What the head writes, one row for each token that it raises or lowers.

        Returns:
            Columns: `source` (the token attended to), `direction` (`raised` or `lowered`), `place` (1 for the
            strongest), `token`, `logit` (above the mean over the vocabulary).
        """
        rows = [
            {"source": source, "direction": direction, "place": place, "token": token, "logit": logit}
            for direction in ("raised", "lowered")
            for source, tokens, logits in zip(
                self.sources, getattr(self, direction), getattr(self, f"{direction}_logits").tolist(), strict=True
            )
            for place, (token, logit) in enumerate(zip(tokens, logits, strict=True), 1)
        ]
        return pd.DataFrame(rows)

    def to_content(self) -> files.Content:
        """What a file holds of this: tensors by name, and all the rest as fields."""
        tensors = {name: getattr(self, name) for name in ("pattern", "by_lag", *PER_QUERY, *PER_SOURCE)}
        kept = {name: getattr(self, name) for name in ("layer", "head", "text", "vocab", "provenance")}
        kept |= {name: list(getattr(self, name)) for name in ("tokens", "sources")}
        kept |= {name: [list(row) for row in getattr(self, name)] for name in ("raised", "lowered")}
        # As text, since NaN has no place in JSON.
        kept["sink"] = str(self.sink)
        kept["standings"] = [
            [name, asdict(item) | {"value": str(item.value), "stderr": str(item.stderr)}]
            for name, item in self.standings.items()
        ]
        return files.Content(type(self).__name__, kept, tensors)

    @classmethod
    def arguments(cls, content: files.Content) -> dict[str, Any]:
        """The arguments that make the same profile again from a file's content."""
        standings = {
            name: Standing(**(item | {key: checks.number(key, item[key]) for key in ("value", "stderr")}))
            for name, item in content.fields["standings"]
        }
        sink = checks.number("sink", content.fields["sink"])
        return {**content.fields, **content.tensors, "sink": sink, "standings": standings}


def _words(name: str, rows: Sequence[Sequence[str]], shape: tuple[int, ...]) -> tuple[tuple[str, ...], ...]:
    """Rows of token texts, as many as there are logits.

    Raises:
        InputError: Their number differs.
    """
    kept = tuple(tuple(row) for row in rows)
    if [len(row) for row in kept] != [shape[1]] * shape[0]:
        raise InputError(
            f"{name}: expected {shape[0]} rows of {shape[1]} tokens, one for each of {name}_logits, "
            f"got rows of {[len(row) for row in kept]}"
        )
    return kept
