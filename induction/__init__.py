"""Induction heads: who attends to what came next before, and who copies what is attended to."""

from induction.drawing import distinct_tokens, repeated_tokens
from induction.measure import copying, prefix_matching, record_patterns, repeat_loss, score_heads

__all__ = [
    "copying",
    "distinct_tokens",
    "prefix_matching",
    "record_patterns",
    "repeat_loss",
    "repeated_tokens",
    "score_heads",
]
