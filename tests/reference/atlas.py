"""The scores of the head atlas, query by query and key by key, from one pattern and its tokens."""

from math import log, nan

import torch
from reference.patterns import attention_patterns
from torch import Tensor
from transformers import PreTrainedModel

Rows = list[list[float]]


def previous_token(rows: Rows, tokens: list[int]) -> list[float]:
    return [rows[j][j - 1] for j in range(2, len(rows))]


def duplicate_token(rows: Rows, tokens: list[int]) -> list[float]:
    return [
        sum(rows[j][k] for k in range(j) if tokens[k] == tokens[j]) for j in range(len(rows)) if tokens[j] in tokens[:j]
    ]


def induction(rows: Rows, tokens: list[int]) -> list[float]:
    values = []
    for j in range(len(rows)):
        successors = [k + 1 for k in range(j - 1) if tokens[k] == tokens[j]]
        if successors:
            values.append(sum(rows[j][key] for key in successors))
    return values


def self_attention(rows: Rows, tokens: list[int]) -> list[float]:
    return [rows[j][j] for j in range(1, len(rows))]


def first_token(rows: Rows, tokens: list[int]) -> list[float]:
    return [row[0] for row in rows[1:]]


def first_token_share(rows: Rows, tokens: list[int]) -> list[float]:
    return [1.0 if row[0] > 0.3 else 0.0 for row in rows[1:]]


def entropy(rows: Rows, tokens: list[int]) -> list[float]:
    return [sum(-a * log(a) for a in rows[j] if a > 0) / log(j + 1) for j in range(1, len(rows))]


def offset_two(rows: Rows, tokens: list[int]) -> list[float]:
    return [rows[j][j - 2] for j in range(3, len(rows))]


SCORES = {
    function.__name__: function
    for function in (
        previous_token,
        duplicate_token,
        induction,
        self_attention,
        first_token,
        first_token_share,
        entropy,
        offset_two,
    )
}


def score(name: str, pattern: Tensor, tokens: Tensor) -> float:
    """Return the mean over the queries that count of one pattern [query, key]; NaN if none does."""
    values = SCORES[name](pattern.tolist(), tokens.tolist())
    return sum(values) / len(values) if values else nan


def scores(model: PreTrainedModel, tokens: Tensor) -> dict[str, Tensor]:
    """Return every score, [layer, head], on one sequence."""
    patterns = attention_patterns(model, tokens)
    return {
        name: torch.tensor([[score(name, head, tokens) for head in layer] for layer in patterns]) for name in SCORES
    }
