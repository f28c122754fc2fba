"""Requests that begin alike, run as one: a tree of tokens in a single row.

The requests of a document share a prefix (its context, as far as they are the same) and differ in what follows. A
tree holds the prefix once and the branches after it; a mask lets every token see the prefix and its own branch, and
positions continue from the prefix in each branch. One forward pass over the row has the same logits as one pass for
each request.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from headcount.importance.likelihoods.encoding import EncodedRequest


@dataclass(frozen=True)
class PrefixTree:
    """The requests of one document in one row.

    Attributes:
        ids: The prefix, then the branches.
        positions: Each token's position in its request.
        branch: 0 for the prefix, 1 and up for the branches.
        predict_at: For each request, the places in the row whose logits predict its continuation.
        targets: For each request, its continuation.
    """

    ids: tuple[int, ...]
    positions: tuple[int, ...]
    branch: tuple[int, ...]
    predict_at: tuple[tuple[int, ...], ...]
    targets: tuple[tuple[int, ...], ...]

    @property
    def forks(self) -> bool:
        """True if the row has two branches or more, and so needs a mask."""
        return len(set(self.branch) - {0}) > 1


def build_tree(requests: Sequence[EncodedRequest]) -> PrefixTree:
    """Return the tree of some requests. The last token of each is only predicted, never read."""
    inputs = [request.ids[:-1] for request in requests]
    shared = common_prefix(inputs)
    ids, positions, branch = list(inputs[0][:shared]), list(range(shared)), [0] * shared
    starts: dict[tuple[int, ...], int] = {(): shared}  # requests that differ in the last token alone share a branch
    for number, tail in enumerate(dict.fromkeys(row[shared:] for row in inputs), start=1):
        starts.setdefault(tail, len(ids))
        ids += tail
        positions += range(shared, shared + len(tail))
        branch += [number] * len(tail)
    predict_at = [
        tuple(pos if pos < shared else starts[row[shared:]] + pos - shared for pos in _predicting(request))
        for request, row in zip(requests, inputs, strict=True)
    ]
    targets = tuple(request.ids[request.start :] for request in requests)
    return PrefixTree(tuple(ids), tuple(positions), tuple(branch), tuple(predict_at), targets)


def common_prefix(rows: Sequence[Sequence[int]]) -> int:
    """Return the number of tokens that all rows have in common at the beginning."""
    shared = 0
    for column in zip(*rows, strict=False):
        if len(set(column)) > 1:
            break
        shared += 1
    return shared


def _predicting(request: EncodedRequest) -> range:
    """Return the positions whose logits predict the continuation."""
    return range(request.start - 1, len(request.ids) - 1)


@dataclass(frozen=True)
class TreeBatch:
    """Trees as tensors, padded on the right.

    Attributes:
        ids: Tokens.
        positions: Their positions; None where no tree forks, since they are the usual ones then.
        visible: The tokens that each token sees; None where no tree forks, since attention is causal then.
        real: True for tokens, False for padding.
    """

    ids: Int[Tensor, "batch pos"]
    positions: Int[Tensor, "batch pos"] | None
    visible: Bool[Tensor, "batch query key"] | None
    real: Bool[Tensor, "batch pos"]


def batch_trees(trees: Sequence[PrefixTree]) -> TreeBatch:
    """Return some trees as one batch."""
    ids, branch = _padded([tree.ids for tree in trees], 0), _padded([tree.branch for tree in trees], -1)
    if not any(tree.forks for tree in trees):
        return TreeBatch(ids, None, None, branch >= 0)
    same = (branch[:, None, :] == 0) | (branch[:, None, :] == branch[:, :, None])
    causal = torch.ones(ids.shape[1], ids.shape[1], dtype=torch.bool).tril()
    return TreeBatch(ids, _padded([tree.positions for tree in trees], 0), same & causal, branch >= 0)


def _padded(rows: Sequence[Sequence[int]], filler: int) -> Int[Tensor, "batch pos"]:
    length = max(len(row) for row in rows)
    return torch.tensor([[*row, *[filler] * (length - len(row))] for row in rows])
