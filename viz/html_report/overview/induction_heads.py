"""The report's one definition of an induction head, beside the heads of random weights."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from headcount.results import HeadScores
from headcount.viz import number_format
from headcount.viz.contents import Contents
from headcount.viz.html_report.sections.control import THRESHOLD
from headcount.viz.ranks import number_of_parts

NAMED = 3  # heads that a sentence names


@dataclass(frozen=True, eq=False)
class InductionHeads:
    """The heads whose prefix matching is above one half, and above that of every head with random weights.

    Attributes:
        scores: Prefix matching of all heads.
        heads: The induction heads, the highest first.
        random: The highest prefix matching with random weights; None if it was not measured.
        uncertain: Those of all heads within two standard errors of one half.
    """

    scores: HeadScores
    heads: list[tuple[int, int]]
    random: float | None
    uncertain: list[tuple[int, int]]

    @property
    def total(self) -> int:
        """The number of heads with a score."""
        return number_of_parts(self.scores)

    @property
    def strongest(self) -> tuple[int, int] | None:
        """The head with the highest prefix matching; None if no head was measured."""
        return next(((layer, head) for layer, head, _ in self.scores.top(1)), None)

    def label(self, head: tuple[int, int]) -> str:
        """Return the name of a head, such as L18H6."""
        return self.scores.label(*head)

    def score(self, head: tuple[int, int]) -> str:
        """Return the prefix matching of a head with its standard error, as text."""
        return number_format.score_texts(self.scores)[head[0] * self.scores.shape[1] + head[1]]

    def named(self) -> str:
        """Return the names of the first few, and the number of the others: `L1H2, L3H4 and 2 more`."""
        return listed([self.label(head) for head in self.heads])


def listed(names: list[str], first: int = NAMED) -> str:
    """Return the first few of some names, and the number of the others."""
    shown, more = names[:first], len(names) - first
    if more > 0:
        return f"{', '.join(shown)} and {more} more"
    return " and ".join(filter(None, [", ".join(shown[:-1]), *shown[-1:]]))


def induction_heads(contents: Contents) -> InductionHeads | None:
    """Return the run's induction heads; None if prefix matching was not measured."""
    scores = contents.maps.get("prefix_matching")
    if scores is None:
        return None
    control = contents.control.get("prefix_matching")
    random = None if control is None else float(control.values.nan_to_num(-inf).max())
    limit = max(THRESHOLD, -inf if random is None else random)
    heads = [(layer, head) for layer, head, value in scores.top(scores.values.numel()) if value > limit]
    errors = number_format.shown_errors(scores)
    near = (scores.values - THRESHOLD).abs() <= 2 * errors if errors is not None else scores.values.isinf()
    return InductionHeads(scores, heads, random, [(layer, head) for layer, head in near.nonzero().tolist()])
