"""The first screen: the run in one sentence and one picture, and the words of the five answers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from headcount.results import HeadScores, Setting
from headcount.viz import wording
from headcount.viz.contents import Contents
from headcount.viz.html_report.overview.attention_on_text import TextAttention, text_attention
from headcount.viz.html_report.overview.evidence import opening_importance, removal_of_heads
from headcount.viz.html_report.overview.head_scatter import Axis, HeadScatter, axis, head_scatter
from headcount.viz.html_report.overview.induction_heads import InductionHeads, induction_heads
from headcount.viz.html_report.overview.removal import Removal, removal
from headcount.viz.html_report.sections.control import THRESHOLD
from headcount.viz.html_report.sections.importance import FIRST
from headcount.viz.ranks import number_of_parts

NAMED_BY_IMPORTANCE, NAMED_BY_INDUCTION = 3, 6


@dataclass(frozen=True, eq=False)
class FirstScreen:
    """Everything that the first screens say about a run, computed from its results.

    Attributes:
        contents: The results.
    """

    contents: Contents

    @cached_property
    def induction(self) -> InductionHeads | None:
        """The induction heads; None if prefix matching was not measured."""
        return induction_heads(self.contents)

    @cached_property
    def text(self) -> TextAttention | None:
        """The attention on the prompt that opens first."""
        return text_attention(self.contents)

    @cached_property
    def removal(self) -> Removal:
        """The accuracy as parts go."""
        return removal(self.contents)

    @cached_property
    def importance(self) -> tuple[Setting, HeadScores, str] | None:
        """The importance of heads that the picture shows, with its setting and name.

        By removal of one head at a time where this was measured, else by gradients, to first order.
        """
        if removed := removal_of_heads(self.contents):
            return *removed, "drop of the gold log-probability without the head"
        setting = opening_importance(self.contents, self.contents.heads)
        return None if setting is None else (setting, self.contents.heads[setting], "head importance")

    @cached_property
    def overlap(self) -> tuple[int, int, float] | None:
        """The number of induction heads among the most important heads, the number of these, and that by chance."""
        if self.importance is None or self.induction is None:
            return None
        total = number_of_parts(self.importance[1])
        important = [(layer, head) for layer, head, _ in self.importance[1].top(min(FIRST, total))]
        common = len({*important} & {*self.induction.heads})
        return common, len(important), len(important) * len(self.induction.heads) / max(1, total)

    @property
    def sentence(self) -> str:
        """The one sentence of the run."""
        if self.induction is None or self.induction.strongest is None:
            if self.importance is None:
                return "This run has no scores of heads yet."
            return f"{self._most_important()} Which heads are induction heads was not measured."
        return f"{_which(self.induction, self.induction.label(self.induction.strongest))}{self._needed()}"

    @cached_property
    def picture(self) -> HeadScatter | None:
        """The picture of all heads; None if the run has no scores of heads."""
        maps, chosen, induction = self.contents.maps, self.importance, self.induction
        first = maps.get("prefix_matching") or next(iter(maps.values()), None)
        scores = first or (chosen[1] if chosen else None)
        if scores is None:
            return None
        across = _depth(scores) if first is None else _axis_of(first)
        second = next((other for other in maps.values() if other is not first), None)
        upwards = self._importance_axis() or (_depth(scores) if second is None else _axis_of(second))
        ringed = [] if induction is None else induction.heads
        important = [] if chosen is None else [(layer, head) for layer, head, _ in chosen[1].top(NAMED_BY_IMPORTANCE)]
        highest = [(layer, head) for layer, head, _ in scores.top(NAMED_BY_INDUCTION)]
        named = list(dict.fromkeys((*highest[:2], *important, *highest[2:])))
        border = None if induction is None else 100 * THRESHOLD
        return head_scatter(across, upwards, scores, named, ringed=ringed, border=border)

    def _importance_axis(self) -> Axis | None:
        if self.importance is None:
            return None
        setting, scores, name = self.importance
        return axis(f"{name}: {setting.title}", scores.values.double().flatten().numpy())

    def _needed(self) -> str:
        if self.overlap is None or self.importance is None:
            return ". What tasks need was not measured."
        common, first, _ = self.overlap
        if not self.induction or not self.induction.heads:
            return f". {self._most_important()}"
        if common == 0:
            return f", but none of the {first} heads that tasks need most is one."
        return f", and {common} of the {first} heads that tasks need most {'is one' if common == 1 else 'are such'}."

    def _most_important(self) -> str:
        if self.importance is None:
            return ""
        setting, scores, _ = self.importance
        names = [scores.label(layer, head) for layer, head, _ in scores.top(1)]
        return f"Tasks need {names[0]} most ({setting.title})." if names else "No head has a score of importance."


def _which(induction: InductionHeads, strongest: str) -> str:
    if not induction.heads:
        return f"No head of {induction.total} is an induction head here; the nearest is {strongest}"
    if len(induction.heads) == 1:
        return f"{strongest} is the only induction head among {induction.total} heads"
    return f"{strongest} is the strongest of {len(induction.heads)} induction heads among {induction.total} heads"


def _axis_of(scores: HeadScores) -> Axis:
    values = scores.values.double().flatten().numpy()
    share = scores.measure == "prefix_matching" or scores.definition == "successor"
    return axis(wording.title_of(scores.measure).lower(), values, (0.0, 1.0) if share else None)


def _depth(scores: HeadScores) -> Axis:
    n_layers, n_heads = scores.shape
    return axis("layer", np.repeat(np.arange(n_layers, dtype=np.float64), n_heads), (-0.5, n_layers - 0.5))
