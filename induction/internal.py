"""The face of `induction` for the other rooms: recorded prompts, the work of measurements, a check. Not public."""

from headcount.induction.passes.copying import check_eigenvalues
from headcount.induction.tokens import prompts
from headcount.induction.tokens.sequences import N_PERIODS
from headcount.induction.work import feeding_heads_work, patterns_work, repeat_loss_work, score_heads_work

__all__ = [
    "N_PERIODS",
    "check_eigenvalues",
    "feeding_heads_work",
    "patterns_work",
    "prompts",
    "repeat_loss_work",
    "score_heads_work",
]
