"""One model and one task's documents, run again and again without some parts."""

from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from headcount.importance.evaluation import Asked, Judged, judge
from headcount.importance.likelihoods.score import likelihoods
from headcount.tracing import BatchSize, Model, Progress, Sizes, masked, pruned, removed_parameters

Component = Literal["heads", "ffns"]
Parts = Int64[Tensor, " part"]


def n_parts(sizes: Sizes, component: Component) -> int:
    """How many heads, or feed-forward networks, a model of these sizes has."""
    return sizes.n_layers * (sizes.n_heads if component == "heads" else 1)


@dataclass(frozen=True)
class Removal:
    """Parts that go together, as flat indices [layer * head] and [layer]."""

    heads: tuple[int, ...] = ()
    ffns: tuple[int, ...] = ()


@dataclass
class Sweep:
    """A model's answers to the same documents without these parts, without those.

    Attributes:
        model: The whole model.
        asked: The documents.
        batch_size: Documents run together.
        progress: Told of every batch that is done, in documents.
    """

    model: Model
    asked: Asked
    batch_size: BatchSize = "auto"
    progress: Progress | None = None
    _done: dict[Removal, Judged] = field(default_factory=dict)

    def run(self, removal: Removal) -> Judged:
        """The answers without these parts; the same removal is run once."""
        if removal not in self._done:
            self._done[removal] = self._run(removal)
        elif self.progress is not None:
            self.progress(len(self.asked.documents))
        return self._done[removal]

    def _run(self, removal: Removal) -> Judged:
        if not self.model.in_memory:  # its weights stay as they are
            with masked(self.model, *self.masks(removal)):
                return self._judged(self.model)
        # Taken out of the weights rather than masked: a pruned model's passes cost what is left of it.
        return self._judged(self.model if removal == Removal() else pruned(self.model, *self.masks(removal)))

    def _judged(self, model: Model) -> Judged:
        found = likelihoods(model, self.asked.tokens, batch_size=self.batch_size, progress=self.progress)
        return judge(self.asked, found)

    def count(self, removal: Removal) -> int:
        """How many parameters go with these parts."""
        return removed_parameters(self.model, *self.masks(removal)).removed

    @property
    def chance(self) -> float:
        """The accuracy to expect of guessing."""
        return self.asked.task.chance(self.asked.documents)

    @property
    def majority(self) -> float:
        """The accuracy of the best constant answer."""
        return self.asked.task.majority(self.asked.documents)

    def masks(self, removal: Removal) -> tuple[Bool[Tensor, "layer head"], Bool[Tensor, " layer"]]:
        """The removal as masks, True where a part goes."""
        sizes = self.model.sizes
        heads = torch.zeros(sizes.n_layers * sizes.n_heads, dtype=torch.bool)
        ffns = torch.zeros(sizes.n_layers, dtype=torch.bool)
        heads[list(removal.heads)] = True
        ffns[list(removal.ffns)] = True
        return heads.view(sizes.n_layers, sizes.n_heads), ffns
