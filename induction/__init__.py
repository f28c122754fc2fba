"""Induction heads: scores of prefix matching and copying for every head, the head atlas, the profile of one head."""

if __name__ != "headcount.induction":  # imported from the checkout's folder, it would be a second copy
    raise ImportError(f"the module {__name__} is part of headcount: import headcount.induction instead")

from headcount.induction.atlas.detectors import forget_detector, register_detector
from headcount.induction.atlas.measure import head_atlas
from headcount.induction.composition import composition
from headcount.induction.copy_suppression import copy_suppression
from headcount.induction.measure import copying, prefix_matching, record_patterns, repeat_loss, score_heads
from headcount.induction.paths import feeding_heads
from headcount.induction.profile import head_profile
from headcount.induction.retrieval import retrieval
from headcount.induction.successor import successor
from headcount.induction.tokens.sampling import distinct_tokens, repeated_tokens
from headcount.induction.written import written_scores

__all__ = [
    "composition",
    "copy_suppression",
    "copying",
    "distinct_tokens",
    "feeding_heads",
    "forget_detector",
    "head_atlas",
    "head_profile",
    "prefix_matching",
    "record_patterns",
    "register_detector",
    "repeat_loss",
    "repeated_tokens",
    "retrieval",
    "score_heads",
    "successor",
    "written_scores",
]
