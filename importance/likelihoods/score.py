"""Log-likelihoods of continuations: each document's requests in one row, logits only where they are needed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor

from headcount.importance.likelihoods.prefix_tree import Tokens, Tree, batch, grow
from headcount.tracing import BatchSize, Hook, Model, Progress
from headcount.tracing.internal import ForwardPass, Prepared, run_batches
from headcount.travel import travels

Hooks = Sequence[tuple[str, Callable[..., Any]]]


class Likelihood(NamedTuple):
    """How likely a model finds a continuation.

    Attributes:
        log_p: log p(continuation | context), in nats.
        greedy: Whether every token of it is the likeliest one.
    """

    log_p: float
    greedy: bool


def likelihoods(
    model: Model,
    documents: Sequence[Sequence[Tokens]],
    *,
    batch_size: BatchSize = "auto",
    progress: Progress | None = None,
) -> list[list[Likelihood]]:
    """The log-likelihood of every request of every document.

    Args:
        model: The model; parts that are removed at present stay removed.
        documents: Requests by document.
        batch_size: Documents run together.
        progress: Told of every batch that is done, in documents.

    Returns:
        In the order given. Batches do not change the values beyond rounding.
    """
    places, trees = [], []
    for place, tree in forest(model, documents):
        places.append(place)
        trees.append(tree)

    def prepare(chosen: list[int]) -> Prepared[list[list[Likelihood]]]:
        return each_pass(model, [trees[index] for index in chosen], [()])

    done = run_batches(model, prepare, [len(tree.ids) for tree in trees], batch_size, progress)
    found: list[list[Likelihood]] = [[] for _ in documents]
    for place, (values,) in zip(places, done, strict=True):
        found[place] += values
    return found


def forest(model: Model, documents: Sequence[Sequence[Tokens]]) -> list[tuple[int, Tree]]:
    """Every document's requests as one tree, with the document's place.

    Where attention has a window and some request is longer than it, all requests become trees of their own: the mask of
    a tree knows no window, and trees that need one must not share a batch with trees that have a mask.
    """
    window = getattr(model.hf.config, "sliding_window", None)
    longest = max((len(request.ids) for requests in documents for request in requests), default=0)
    if window is not None and longest > window:
        return [(place, grow([request])) for place, requests in enumerate(documents) for request in requests]
    return [(place, grow(requests)) for place, requests in enumerate(documents)]


def each_pass(model: Model, trees: Sequence[Tree], hooks: Sequence[Hooks]) -> Prepared[list[list[Likelihood]]]:
    """Passes for the log-likelihoods of a batch of trees: for each tree, with each of several sets of hooks.

    Hooks of later passes may use what those of earlier ones kept.
    """
    asked = needed(trees, model.device)
    with torch.no_grad():
        passes = [tree_pass(model, trees, asked, some, LogProbabilities(asked)) for some in hooks]
        share_inputs(passes)

    def read(found: Sequence[Any]) -> list[list[list[Likelihood]]]:
        by_run = [read_off(trees, *one) for one in found]
        return [[run[number] for run in by_run] for number in range(len(trees))]

    return passes, read


def read_off(trees: Sequence[Tree], of_target: Tensor, greedy: Tensor) -> list[list[Likelihood]]:
    """Each tree's likelihoods, from those of all tokens that its continuations have."""
    counts = [len(targets) for tree in trees for targets in tree.targets]
    parts = zip(of_target.split(counts), greedy.split(counts), strict=True)
    flat = iter([Likelihood(float(values.double().sum()), bool(hits.all())) for values, hits in parts])
    return [[next(flat) for _ in tree.targets] for tree in trees]


class Needed(NamedTuple):
    """The logits that a batch of trees needs: each place once, however many requests go on from it.

    Attributes:
        row: The tree of each place.
        pos: Its index in the tree.
        place: For every token of all continuations, which of the places predicts it.
        target: The token.
    """

    row: Int[Tensor, " place"]
    pos: Int[Tensor, " place"]
    place: Int[Tensor, " target"]
    target: Int[Tensor, " target"]


@travels
class LogProbabilities:
    """Makes of logits the log-probabilities of some tokens, and whether each is the likeliest."""

    def __init__(self, asked: Needed) -> None:
        self.place, self.target = asked.place, asked.target

    def __call__(self, logits: Tensor, hook: Hook) -> tuple[Tensor, Tensor]:
        """Both on the CPU."""
        place, target = self.place.to(logits.device), self.target.to(logits.device)
        log_p = torch.log_softmax(logits.float(), dim=-1)
        return log_p[place, target].cpu(), (log_p.argmax(-1)[place] == target).cpu()


def tree_pass(
    model: Model,
    trees: Sequence[Tree],
    asked: Needed,
    hooks: Hooks,
    finish: Callable[[Tensor, Hook], Any],
) -> ForwardPass:
    """The pass for the logits at some places of a batch of trees."""
    rows = batch(trees)
    return model.pass_at(rows.ids, asked.row, asked.pos, hooks, finish, positions=rows.positions, visible=rows.visible)


def share_inputs(passes: Sequence[ForwardPass]) -> None:
    """Let passes over the same rows share their inputs: masks grow with the square of the length."""
    for one in passes[1:]:
        one.inputs = passes[0].inputs


def needed(trees: Sequence[Tree], device: torch.device) -> Needed:
    """The logits that some trees need."""
    wanted = [
        ((number, pos), target)
        for number, tree in enumerate(trees)
        for positions, targets in zip(tree.read, tree.targets, strict=True)
        for pos, target in zip(positions, targets, strict=True)
    ]
    index = {place: number for number, place in enumerate(dict.fromkeys(place for place, _ in wanted))}
    row, pos = torch.tensor(list(index), device=device).unbind(1)
    place, target = torch.tensor([(index[place], target) for place, target in wanted], device=device).unbind(1)
    return Needed(row, pos, place, target)
