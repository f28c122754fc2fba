"""One attention head at a glance: its scores, its attention on a text, and the logits that it raises and lowers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from headcount.results.errors import InputError
from headcount.results.kinds.scores import HeadScores
from headcount.results.presentation.notebook_table import html_table
from headcount.results.storage import checks, field_types
from headcount.results.storage.stored import Stored

if TYPE_CHECKING:
    import pandas as pd

PER_QUERY = ("entropy", "relative_entropy")
ROUNDING = 1e-3  # of the sum of a row of attention


@dataclass(frozen=True)
class Standing:
    """A head's score by one measure, and its place among all heads.

    Attributes:
        value: The score.
        stderr: Its standard error; NaN where it is unknown.
        rank: 1 for the highest score, ties in the order of (layer, head); None for a head that was not measured.
        among: The number of heads that were measured.
        n: The number of sequences or examples.
        definition: The definition of the measure, such as `"successor"`.

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
        """Return the standing of a head in a map of scores."""
        order = [position for *position, _ in scores.top(scores.values.numel())]
        rank = order.index([layer, head]) + 1 if [layer, head] in order else None
        stderr = float("nan") if scores.stderr is None else scores.stderr[layer, head].item()
        return cls(scores.values[layer, head].item(), stderr, rank, len(order), scores.n, scores.definition)


@dataclass(frozen=True, eq=False, repr=False)
class HeadProfile(Stored):
    """One head on one text.

    Many heads put attention that they have no other use for on position 0: it is the sink, a number apart.

    Attributes:
        layer: The head's layer, from 0.
        head: Its index in the layer, from 0.
        text: The text that the model read.
        tokens: The text of each token, special ones included.
        pattern: Attention of each query to each key; every row sums to 1.
        by_lag: Mean attention to the token at each distance back (0: to itself), over the queries for which that is
            not position 0; NaN for the last lag, which no other query has.
        sink: Mean attention to position 0, over all queries but that position's own; NaN for a single token.
        entropy: Entropy of each query's attention in nats, 0 to log(number of keys it may attend to).
        relative_entropy: The same as a share of that maximum, 0 to 1; NaN where there is one key only.
        sources: The distinct tokens of the text, in the order of their first appearance.
        raised: For each source the tokens whose logits the head raises most when it attends to that token alone.
        raised_logits: The change of their logits, above the mean over the vocabulary; the largest first.
        lowered: The tokens whose logits it lowers most.
        lowered_logits: The change of their logits, likewise; the lowest first.
        own_logit: The change of the logit of the token attended to, above the mean over the vocabulary.
        own_rank: The rank of that token among the vocabulary, 1 if it is raised most.
        vocab: The number of tokens in the vocabulary.
        standings: The head's scores and ranks by measure.
        provenance: Everything that is needed to measure it again, as JSON can hold it.

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

    def __post_init__(self) -> None:
        checks.check_count("vocab", self.vocab)
        field_types.check_fields(self)
        self._copy_fields()
        length, sources = len(self.tokens), len(self.sources)
        self._adopt("pattern", ["query", "key"], [length, length])
        self._adopt("by_lag", ["lag"], [length])
        for name in PER_QUERY:
            self._adopt(name, ["query"], [length])
        for name in ("raised", "lowered"):
            self._adopt(f"{name}_logits", ["source", "place"], [sources, None])
            _check_rows(name, getattr(self, name), tuple(getattr(self, f"{name}_logits").shape))
        for name in ("own_logit", "own_rank"):
            self._adopt(name, ["source"], [sources])
        if not bool(((self.own_rank >= 1) & (self.own_rank <= self.vocab)).all()):
            raise InputError(f"own_rank: expected ranks from 1 to {self.vocab}, got {field_types.shown(self.own_rank)}")
        if not (((total := self.pattern.sum(-1)) - 1).abs() <= ROUNDING).all():  # nor is NaN
            raise InputError(f"pattern: expected rows that sum to 1, got {total.min().item():g} to {total.max():g}")

    @property
    def label(self) -> str:
        """The field's short name of the head: `L18H6`."""
        return f"L{self.layer}H{self.head}"

    def to_frame(self) -> "pd.DataFrame":
        """Return a tidy table, one row a query.

        Returns:
            Columns: `position`, `token`, `attention_to_first` (position 0), `attends_to` (the position that gets most
            attention), `attended_token` and `attention` (of that position), `entropy` (nats), `relative_entropy`.
        """
        import pandas as pd

        attention, key = self.pattern.max(-1)
        columns = {
            "position": np.arange(len(self.tokens)),
            "token": self.tokens,
            "attention_to_first": self.pattern[:, 0].numpy(),
            "attends_to": key.numpy(),
            "attended_token": [self.tokens[position] for position in key.tolist()],
            "attention": attention.numpy(),
        }
        return pd.DataFrame(columns | {name: getattr(self, name).numpy() for name in PER_QUERY}, copy=True)

    def written_frame(self) -> "pd.DataFrame":
        """Return a tidy table of what the head writes, one row for each token that it raises or lowers.

        Returns:
            Columns: `source` (the token attended to), `direction` (`raised` or `lowered`), `place` (1 for the
            strongest), `token`, `logit` (above the mean over the vocabulary).
        """
        import pandas as pd

        rows = [
            {"source": source, "direction": direction, "place": place, "token": token, "logit": logit}
            for direction in ("raised", "lowered")
            for source, tokens, logits in zip(
                self.sources, getattr(self, direction), getattr(self, f"{direction}_logits").tolist(), strict=True
            )
            for place, (token, logit) in enumerate(zip(tokens, logits, strict=True), 1)
        ]
        return pd.DataFrame(rows)

    def __repr__(self) -> str:
        standings = self.standings.items()
        ranks = [f"{measure} {standing.value:.3f} (rank {standing.rank})" for measure, standing in standings]
        return f"HeadProfile({', '.join([self.label, f'{len(self.tokens)} tokens', *ranks])})"

    def _repr_html_(self) -> str:
        rows = [
            [measure, f"{standing.value:.4f}", f"{standing.rank or 'n/a'} of {standing.among}"]
            for measure, standing in self.standings.items()
        ]
        rows += [["attention to position 0", f"{self.sink:.4f}", ""]]
        rows += [["entropy, share of its maximum", f"{self.relative_entropy.nanmean().item():.4f}", ""]]
        return html_table(f"{self.label} on {len(self.tokens)} tokens", ["measure", "value", "rank"], rows)


def _check_rows(name: str, rows: tuple[tuple[str, ...], ...], shape: tuple[int, ...]) -> None:
    """Require rows of token texts, as many as there are logits.

    Raises:
        InputError: Their number differs.
    """
    lengths = [len(row) for row in rows]
    if lengths != [shape[1]] * shape[0]:
        raise InputError(
            f"{name}: expected {shape[0]} rows of {shape[1]} tokens, one for each of {name}_logits, "
            f"got rows of {lengths}"
        )
