"""Induction heads: who attends to what came next before, who copies what is attended to, and one head at a glance."""

from induction.drawing import distinct_tokens, repeated_tokens
from induction.measure import copying, prefix_matching, repeat_loss, score_heads
from induction.profile import head_profile

__all__ = [
    "copying",
    "distinct_tokens",
    "head_profile",
    "prefix_matching",
    "repeat_loss",
    "repeated_tokens",
    "score_heads",
]
