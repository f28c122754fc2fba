"""One head at a glance, entry by entry."""

from math import log, nan
from typing import NamedTuple

import torch
from reference import parts
from reference.copying import mean, ov_path
from reference.patterns import attention_patterns, embedded
from torch import Tensor
from transformers import PreTrainedModel


class TokenLogits(NamedTuple):
    """Every token of the vocabulary, and its logit when the head attends to one token alone, the highest first."""

    token: int
    order: list[int]
    logits: list[float]


def head_pattern(model: PreTrainedModel, tokens: Tensor, layer: int, head: int) -> list[list[float]]:
    """Return the attention of one head on one sequence: [query][key]."""
    return attention_patterns(model, tokens)[layer, head].tolist()


def mean_by_lag(pattern: list[list[float]]) -> list[float]:
    """Return the mean attention at each distance, position 0 set apart."""
    by_lag = []
    for lag in range(len(pattern)):
        entries = [pattern[query][query - lag] for query in range(len(pattern)) if query - lag >= 1]
        by_lag.append(mean(entries) if entries else nan)
    return by_lag


def sink_share(pattern: list[list[float]]) -> float:
    """Return the mean attention to position 0 of all later queries."""
    later = [row[0] for row in pattern[1:]]
    return mean(later) if later else nan


def entropies(pattern: list[list[float]]) -> list[float]:
    """Return each row's entropy in nats."""
    return [sum(-weight * log(weight) for weight in row if weight > 0) for row in pattern]


def relative_entropies(pattern: list[list[float]]) -> list[float]:
    """Return each row's entropy as a share of the logarithm of the number of keys."""
    return [entropy / log(query + 1) if query else nan for query, entropy in enumerate(entropies(pattern))]


@torch.no_grad()
def written_logits(model: PreTrainedModel, tokens: Tensor, layer: int, head: int) -> list[TokenLogits]:
    """Return the logits that the head writes for each distinct token of the sequence, attending to that token alone."""
    model = parts.eager_copy(model)
    block = parts.layers(model)[layer]
    attention = getattr(block, parts.names(model).attention)
    x = parts.norm_before_attention(model, block)(embedded(model, tokens))
    logits = ov_path(model, attention, head, x)
    rows: list[TokenLogits] = []
    for position, token in enumerate(tokens.tolist()):
        if token in [earlier.token for earlier in rows]:
            continue
        values = logits[position].tolist()
        above_mean = [value - mean(values) for value in values]
        order = sorted(range(len(values)), key=lambda index: -values[index])
        rows.append(TokenLogits(token, order, [above_mean[index] for index in order]))
    return rows
