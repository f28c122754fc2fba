"""A model's answers to one task's documents, with different parts removed each time."""

from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from math import nan, prod
from typing import Any, Literal

import torch
from jaxtyping import Int64
from torch import Tensor

from headcount.importance.evaluation import Answers, EncodedTask, answers_of
from headcount.importance.likelihoods.log_likelihoods import log_likelihoods
from headcount.results import InputError
from headcount.tracing import BatchSize, Model, Progress, masked, pruned, removed_parameters
from headcount.tracing.internal import Replacement, cut_fits, present_replacements, replaced

Component = Literal["heads", "ffns", "kv_groups", "experts"]
Parts = Int64[Tensor, " part"]


def shape_of(model: Model, component: Component) -> tuple[int, ...]:
    """Return the shape of the parts of a kind: [layer, head], [layer], [layer, group] or [layer, expert]."""
    sizes = model.sizes
    if component == "ffns":
        return (sizes.n_layers,)
    by_layer = {"heads": sizes.n_heads, "kv_groups": sizes.n_kv_heads, "experts": sizes.n_experts}
    return sizes.n_layers, by_layer[component]


def parts_of(model: Model, component: Component) -> Parts:
    """Return the parts of a kind that a model has, as flat indices of their shape.

    Raises:
        InputError: Experts are meant, and the model has none; or KV groups, and layers differ in their number.
    """
    shape = shape_of(model, component)
    parts = torch.arange(prod(shape)).view(shape)
    if component == "ffns":
        return parts[model.anatomy.layers_with_ffns()]
    if component == "kv_groups" and not model.variant.groups_alike:
        raise InputError(f"layers of {model.name} differ in their number of KV groups: remove heads instead")
    layers = model.anatomy.layers_with_experts() if component == "experts" else model.layers_with_heads
    if not layers:
        raise InputError(f"{model.name} has no mixture of experts, or one whose experts cannot be told apart")
    return parts[layers].flatten()


def n_parts(model: Model, component: Component) -> int:
    """Return the number of parts of a kind that a model has."""
    return len(parts_of(model, component))


@dataclass(frozen=True)
class Removal:
    """Parts that are removed together, as flat indices [layer * head], [layer] and [layer * expert].

    A KV group is its heads.
    """

    heads: tuple[int, ...] = ()
    ffns: tuple[int, ...] = ()
    experts: tuple[int, ...] = ()


@dataclass
class PrunedAnswers:
    """Answers to the same documents by removal; each removal is run once and remembered.

    Attributes:
        model: The whole model.
        encoded: The documents.
        batch_size: Documents run together.
        progress: Called after each batch with the number of documents in it.
        replacement: The values in the place of the removed parts' outputs; None for zeros.
    """

    model: Model
    encoded: EncodedTask
    batch_size: BatchSize = "auto"
    progress: Progress | None = None
    replacement: Replacement | None = None
    _by_removal: dict[Removal, Answers] = field(default_factory=dict)

    def without(self, removal: Removal) -> Answers:
        """Return the answers of the model without these parts."""
        if removal not in self._by_removal:
            self._by_removal[removal] = self._run(removal)
        elif self.progress is not None:
            self.progress(len(self.encoded.documents))
        return self._by_removal[removal]

    def ablated(self, removal: Removal) -> AbstractContextManager[Model]:
        """Return a block in which the model is without these parts."""
        if self.replacement is None:
            return masked(self.model, **self.masks(removal))
        return replaced(self.model, replacement=self.replacement, **self.masks(removal))

    def _run(self, removal: Removal) -> Answers:
        if removal == Removal():
            return self._answers(self.model)
        constant = self.replacement is None or self.replacement.rows is None
        # A pruned model's passes cost less. Weights elsewhere stay, and those of a derived model may be cut wrongly.
        if constant and self.model.in_memory and not self.model.derived and not present_replacements(self.model):
            masks = self.masks(removal)
            fits = cut_fits(self.model, masks["heads"])
            return self._answers(pruned(self.model, **masks, replacement=self.replacement, in_each_pass=not fits))
        with self.ablated(removal):
            return self._answers(self.model)

    def _answers(self, model: Model) -> Answers:
        scores = log_likelihoods(model, self.encoded.requests, batch_size=self.batch_size, progress=self.progress)
        return answers_of(self.encoded, scores)

    def parameters(self, removal: Removal) -> float:
        """Return the number of parameters that are removed with these parts; NaN if it is not known."""
        try:
            means = self.replacement is not None and self.replacement.kind == "mean"
            return removed_parameters(self.model, **self.masks(removal), means=means).removed
        except InputError:
            if not self.model.derived:
                raise
            return nan

    def masks(self, removal: Removal) -> dict[str, Any]:
        """Return the removal as masks by kind of part, True where a part is removed."""
        masks = {"heads": _mask(self.model, "heads", removal.heads), "ffns": _mask(self.model, "ffns", removal.ffns)}
        return masks | ({"experts": _mask(self.model, "experts", removal.experts)} if removal.experts else {})


def _mask(model: Model, component: Component, removed: tuple[int, ...]) -> Tensor:
    shape = shape_of(model, component)
    mask = torch.zeros(prod(shape), dtype=torch.bool)
    mask[list(removed)] = True
    return mask.view(shape)
