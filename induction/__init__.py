"""Induction heads: who attends to what came next before, who copies what is attended to, and one head at a glance."""

from headcount.induction.measure import copying, prefix_matching, record_patterns, repeat_loss, score_heads
from headcount.induction.profile import head_profile
from headcount.induction.sampling import distinct_tokens, repeated_tokens

__all__ = [
    "copying",
    "distinct_tokens",
    "head_profile",
    "prefix_matching",
    "record_patterns",
    "repeat_loss",
    "repeated_tokens",
    "score_heads",
]
