"""A model's answers to one task's documents, with different parts removed each time."""

from dataclasses import dataclass, field
from math import nan
from typing import Literal

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from headcount.importance.evaluation import Answers, EncodedTask, answers_of
from headcount.importance.likelihoods.log_likelihoods import log_likelihoods
from headcount.results import InputError
from headcount.tracing import BatchSize, Model, Progress, masked, pruned, removed_parameters

Component = Literal["heads", "ffns"]
Parts = Int64[Tensor, " part"]


def parts_of(model: Model, component: Component) -> Parts:
    """Return the heads, or the feed-forward networks, that a model has, as flat indices [layer * head] or [layer]."""
    if component == "ffns":
        return torch.arange(model.sizes.n_layers)
    heads = torch.arange(model.sizes.n_layers * model.sizes.n_heads).view(model.sizes.n_layers, -1)
    return heads[model.layers_with_heads].flatten()


def n_parts(model: Model, component: Component) -> int:
    """Return the number of heads, or of feed-forward networks, of a model."""
    return len(parts_of(model, component))


@dataclass(frozen=True)
class Removal:
    """Parts that are removed together, as flat indices [layer * head] and [layer]."""

    heads: tuple[int, ...] = ()
    ffns: tuple[int, ...] = ()


@dataclass
class PrunedAnswers:
    """Answers to the same documents by removal; each removal is run once and remembered.

    Attributes:
        model: The whole model.
        encoded: The documents.
        batch_size: Documents run together.
        progress: Called after each batch with the number of documents in it.
    """

    model: Model
    encoded: EncodedTask
    batch_size: BatchSize = "auto"
    progress: Progress | None = None
    _by_removal: dict[Removal, Answers] = field(default_factory=dict)

    def without(self, removal: Removal) -> Answers:
        """Return the answers of the model without these parts."""
        if removal not in self._by_removal:
            self._by_removal[removal] = self._run(removal)
        elif self.progress is not None:
            self.progress(len(self.encoded.documents))
        return self._by_removal[removal]

    def _run(self, removal: Removal) -> Answers:
        if not self.model.in_memory or self.model.derived:  # its weights stay as they are, or may be cut wrongly
            with masked(self.model, *self.masks(removal)):
                return self._answers(self.model)
        # Taken out of the weights rather than masked: a pruned model's passes cost less.
        return self._answers(self.model if removal == Removal() else pruned(self.model, *self.masks(removal)))

    def _answers(self, model: Model) -> Answers:
        scores = log_likelihoods(model, self.encoded.requests, batch_size=self.batch_size, progress=self.progress)
        return answers_of(self.encoded, scores)

    def parameters(self, removal: Removal) -> float:
        """Return the number of parameters that are removed with these parts; NaN if it is not known."""
        try:
            return removed_parameters(self.model, *self.masks(removal)).removed
        except InputError:
            if not self.model.derived:
                raise
            return nan

    def masks(self, removal: Removal) -> tuple[Bool[Tensor, "layer head"], Bool[Tensor, " layer"]]:
        """Return the removal as masks, True where a part is removed."""
        sizes = self.model.sizes
        heads = torch.zeros(sizes.n_layers * sizes.n_heads, dtype=torch.bool)
        ffns = torch.zeros(sizes.n_layers, dtype=torch.bool)
        heads[list(removal.heads)] = True
        ffns[list(removal.ffns)] = True
        return heads.view(sizes.n_layers, sizes.n_heads), ffns
