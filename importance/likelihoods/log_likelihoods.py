"""The log-likelihood of a continuation, log p(continuation | context) = Σ log p(token | all tokens before it)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from headcount.importance.likelihoods.encoding import EncodedRequest
from headcount.importance.likelihoods.prefix_tree import PrefixTree
from headcount.importance.likelihoods.tree_passes import (
    Hooks,
    TargetLogProbabilities,
    document_trees,
    logit_positions,
    share_inputs,
    tree_pass,
)
from headcount.tracing import BatchSize, Model, Progress
from headcount.tracing.internal import Prepared, run_batches


class LogLikelihood(NamedTuple):
    """The log-likelihood of one continuation.

    Attributes:
        log_p: log p(continuation | context), in nats.
        greedy: True if every token of the continuation is the likeliest one.
    """

    log_p: float
    greedy: bool


def log_likelihoods(
    model: Model,
    documents: Sequence[Sequence[EncodedRequest]],
    *,
    batch_size: BatchSize = "auto",
    progress: Progress | None = None,
) -> list[list[LogLikelihood]]:
    """Return the log-likelihood of every request of every document.

    Args:
        model: The model; parts that are removed at present stay removed.
        documents: Requests by document.
        batch_size: Documents run together.
        progress: Called after each batch with the number of documents in it.

    Returns:
        Log-likelihoods by document, in the order of the requests. Batches do not change them beyond rounding.
    """
    numbers, trees = [], []
    for number, tree in document_trees(model, documents):
        numbers.append(number)
        trees.append(tree)

    def prepare(batch: list[int]) -> Prepared[list[list[LogLikelihood]]]:
        return log_likelihood_passes(model, [trees[index] for index in batch], [()])

    by_tree = run_batches(model, prepare, [len(tree.ids) for tree in trees], batch_size, progress)
    by_document: list[list[LogLikelihood]] = [[] for _ in documents]
    for number, (values,) in zip(numbers, by_tree, strict=True):
        by_document[number] += values
    return by_document


def log_likelihood_passes(
    model: Model, trees: Sequence[PrefixTree], hook_sets: Sequence[Hooks]
) -> Prepared[list[list[LogLikelihood]]]:
    """Return passes for the log-likelihoods of a batch of trees: for each tree, with each set of hooks.

    Hooks of later passes may use the records of earlier ones.
    """
    positions = logit_positions(trees, model.device)
    with torch.no_grad():
        passes = [tree_pass(model, trees, positions, hooks, TargetLogProbabilities(positions)) for hooks in hook_sets]
        share_inputs(passes)

    def read(results: Sequence[Any]) -> list[list[list[LogLikelihood]]]:
        by_pass = [sum_by_request(trees, *result) for result in results]
        return [[values[number] for values in by_pass] for number in range(len(trees))]

    return passes, read


def sum_by_request(trees: Sequence[PrefixTree], log_p: Tensor, greedy: Tensor) -> list[list[LogLikelihood]]:
    """Return each tree's log-likelihoods, from the log-probabilities of all tokens of its continuations."""
    counts = [len(targets) for tree in trees for targets in tree.targets]
    parts = zip(log_p.split(counts), greedy.split(counts), strict=True)
    flat = iter([LogLikelihood(float(values.double().sum()), bool(hits.all())) for values, hits in parts])
    return [[next(flat) for _ in tree.targets] for tree in trees]
