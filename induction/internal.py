"""The face of `induction` for the other rooms: the recorded prompts, and the work of measurements. Not public."""

from headcount.induction.tokens import prompts
from headcount.induction.tokens.sequences import N_PERIODS
from headcount.induction.work import patterns_work, repeat_loss_work, score_heads_work

__all__ = ["N_PERIODS", "patterns_work", "prompts", "repeat_loss_work", "score_heads_work"]
