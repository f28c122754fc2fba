"""Forward passes over batches of trees, with logits only at the places that predict a token of a continuation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor

from headcount.importance.likelihoods.encoding import EncodedRequest
from headcount.importance.likelihoods.prefix_tree import PrefixTree, batch_trees, build_tree
from headcount.remote_code import runs_remotely
from headcount.tracing import Hook, Model
from headcount.tracing.internal import ForwardPass, replaced_by_rows

Hooks = Sequence[tuple[str, Callable[..., Any]]]


def document_trees(
    model: Model, documents: Sequence[Sequence[EncodedRequest]], *, apart: bool = False
) -> list[tuple[int, PrefixTree]]:
    """Return every document's requests as one tree, each with the document's number; see `may_share_rows`.

    With `apart` all requests are trees of their own in any case.
    """
    if apart or not may_share_rows(model, [len(request.ids) for requests in documents for request in requests]):
        return [(number, build_tree([request])) for number, requests in enumerate(documents) for request in requests]
    return [(number, build_tree(requests)) for number, requests in enumerate(documents)]


def may_share_rows(model: Model, lengths: Sequence[int]) -> bool:
    """Return True if requests of these lengths may be branches of trees.

    Where attention has a window and some request is longer than it, all requests become trees of their own: the mask of
    a tree knows no window, and trees that need one must not share a batch with trees that have a mask. The same where
    the check at load found that a tree has not the logits of its requests alone, or where values of another prompt of
    the same length take the place of a prompt's own.
    """
    window = getattr(model.hf.config, "sliding_window", None)
    if not model.shares_rows or replaced_by_rows(model):
        return False
    return window is None or max(lengths, default=0) <= window


class LogitPositions(NamedTuple):
    """The places whose logits a batch of trees needs: each once, however many requests continue from it.

    Attributes:
        row: The tree of each place.
        pos: Its index in the tree.
        place: For every token of all continuations, the number of the place that predicts it.
        target: The token.
    """

    row: Int[Tensor, " place"]
    pos: Int[Tensor, " place"]
    place: Int[Tensor, " target"]
    target: Int[Tensor, " target"]


def logit_positions(trees: Sequence[PrefixTree], device: torch.device) -> LogitPositions:
    """Return the places whose logits some trees need."""
    pairs = [
        ((number, pos), target)
        for number, tree in enumerate(trees)
        for places, targets in zip(tree.predict_at, tree.targets, strict=True)
        for pos, target in zip(places, targets, strict=True)
    ]
    index = {place: number for number, place in enumerate(dict.fromkeys(place for place, _ in pairs))}
    row, pos = torch.tensor(list(index), device=device).unbind(1)
    place, target = torch.tensor([(index[place], target) for place, target in pairs], device=device).unbind(1)
    return LogitPositions(row, pos, place, target)


def tree_pass(
    model: Model,
    trees: Sequence[PrefixTree],
    positions: LogitPositions,
    hooks: Hooks,
    finish: Callable[[Tensor, Hook], Any],
) -> ForwardPass:
    """Return the pass for the logits of a batch of trees at some places."""
    batch = batch_trees(trees)
    places = {"positions": batch.positions, "visible": batch.visible, "real": batch.real}
    return model.pass_at(batch.ids, positions.row, positions.pos, hooks, finish, **places)


def share_inputs(passes: Sequence[ForwardPass]) -> None:
    """Let passes over the same rows share their inputs: masks grow with the square of the length."""
    for later in passes[1:]:
        later.inputs = passes[0].inputs


@runs_remotely
class TargetLogProbabilities:
    """Turns logits into the log-probabilities of the target tokens, and True where a target is the likeliest token."""

    def __init__(self, positions: LogitPositions) -> None:
        self.place, self.target = positions.place, positions.target

    def __call__(self, logits: Tensor, hook: Hook) -> tuple[Tensor, Tensor]:
        """Return both, on the CPU."""
        place, target = self.place.to(logits.device), self.target.to(logits.device)
        log_p = torch.log_softmax(logits.float(), dim=-1)
        return log_p[place, target].cpu(), (log_p.argmax(-1)[place] == target).cpu()
