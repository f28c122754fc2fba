"""Prefix matching, entry by entry (Bansal et al. 2023; Olsson et al. 2022).

A sequence is x repeated, L tokens each time, with or without BOS before it. The tokens are numbered from 1, so that
with BOS token j stands at position j, and without it at position j − 1. Token j's earlier occurrences are the tokens
j − L, j − 2L, ..; each was followed by a successor.
"""

import torch
from reference.patterns import attention_patterns
from torch import Tensor
from transformers import PreTrainedModel

DEFINITIONS = ("successor", "published", "entry-mean", "offset")


def prefix_matching(model: PreTrainedModel, tokens: Tensor, period: int, definition: str) -> Tensor:
    """Return [sequence, layer, head] for tokens [sequence, pos], 4·period of them, or one more with BOS."""
    bos = tokens.shape[1] % period == 1
    scores = []
    for sequence in tokens:
        patterns = attention_patterns(model, sequence)
        scores.append([[prefix_score(head, period, definition, bos) for head in layer] for layer in patterns])
    return torch.tensor(scores)


def prefix_score(pattern: Tensor, period: int, definition: str, bos: bool) -> float:
    """Return the score of one pattern [query, key]."""
    rows = pattern.tolist()
    first = 0 if bos else 1  # token j stands at position j − first
    n_tokens = len(rows) - (1 if bos else 0)
    total, queries, entries = 0.0, 0, 0
    for j in range(period + 1, n_tokens + 1):
        queries += 1
        for key in keys(j, period, definition):
            total += rows[j - first][key - first]
            entries += 1
    return total / (entries if definition == "entry-mean" else queries)


def keys(j: int, period: int, definition: str) -> list[int]:
    """Return the numbers of the tokens whose attention from token j counts."""
    successors = []
    k = 1
    while j - k * period >= 1:
        successors.append(j - k * period + 1)
        k += 1
    if definition == "offset":
        return successors[:1]
    if definition == "published" and j % period == 0:
        return [*successors, 1]  # nothing stands before the first token; the published code counts it all the same
    return successors
