"""Requests that begin alike, run as one: a tree of tokens in a single row.

The requests of a document share a prefix (its context, as far as they are the same) and differ in what follows. A
tree holds the prefix once and the branches after it; a mask lets every token see the prefix and its own branch, and
positions go on from the prefix in each branch. One forward pass over the row gives what one pass for each request
would give.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor


@dataclass(frozen=True)
class Tokens:
    """A request as tokens: everything from `start` on is the continuation.

    Attributes:
        ids: Context and continuation.
        start: Where the continuation begins; at least 1.
        cut: How many tokens of the context were left out because it is too long.
    """

    ids: tuple[int, ...]
    start: int
    cut: int = 0


@dataclass(frozen=True)
class Tree:
    """The requests of one document in one row.

    Attributes:
        ids: The prefix, then the branches.
        positions: Each token's position in its request.
        branch: 0 for the prefix, 1 and up for the branches.
        read: For each request, the places whose logits predict its continuation.
        targets: For each request, its continuation.
    """

    ids: tuple[int, ...]
    positions: tuple[int, ...]
    branch: tuple[int, ...]
    read: tuple[tuple[int, ...], ...]
    targets: tuple[tuple[int, ...], ...]


def grow(requests: Sequence[Tokens]) -> Tree:
    """The tree of some requests. The last token of each is only predicted, never read."""
    inputs = [request.ids[:-1] for request in requests]
    shared = common_prefix(inputs)
    ids, positions, branch = list(inputs[0][:shared]), list(range(shared)), [0] * shared
    begins: dict[tuple[int, ...], int] = {(): shared}  # requests that differ in the last token alone share a branch
    for number, tail in enumerate(dict.fromkeys(row[shared:] for row in inputs), start=1):
        begins.setdefault(tail, len(ids))
        ids += tail
        positions += range(shared, shared + len(tail))
        branch += [number] * len(tail)
    read = [
        tuple(place if place < shared else begins[row[shared:]] + place - shared for place in _predicting(request))
        for request, row in zip(requests, inputs, strict=True)
    ]
    targets = tuple(request.ids[request.start :] for request in requests)
    return Tree(tuple(ids), tuple(positions), tuple(branch), tuple(read), targets)


def common_prefix(rows: Sequence[Sequence[int]]) -> int:
    """How many tokens all rows have in common at the beginning."""
    shared = 0
    for column in zip(*rows, strict=False):
        if len(set(column)) > 1:
            break
        shared += 1
    return shared


def _predicting(request: Tokens) -> range:
    return range(request.start - 1, len(request.ids) - 1)


@dataclass(frozen=True)
class Batch:
    """Trees as tensors, padded on the right.

    Attributes:
        ids: Tokens.
        positions: Their positions; None where no tree has branches, since they are the usual ones then.
        visible: Which tokens each token sees; None where no tree has branches, since it is causal then.
    """

    ids: Int[Tensor, "batch pos"]
    positions: Int[Tensor, "batch pos"] | None
    visible: Bool[Tensor, "batch query key"] | None


def batch(trees: Sequence[Tree]) -> Batch:
    """Some trees as one batch."""
    ids = _padded([tree.ids for tree in trees], 0)
    if all(len(set(tree.branch) - {0}) <= 1 for tree in trees):  # nothing forks
        return Batch(ids, None, None)
    branch = _padded([tree.branch for tree in trees], -1)
    same = (branch[:, None, :] == 0) | (branch[:, None, :] == branch[:, :, None])
    causal = torch.ones(ids.shape[1], ids.shape[1], dtype=torch.bool).tril()
    return Batch(ids, _padded([tree.positions for tree in trees], 0), same & causal)


def _padded(rows: Sequence[Sequence[int]], filler: int) -> Int[Tensor, "batch pos"]:
    length = max(len(row) for row in rows)
    return torch.tensor([[*row, *[filler] * (length - len(row))] for row in rows])
