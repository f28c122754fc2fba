"""The face of `induction` for the other rooms: prompts and texts, detectors, the work of measurements. Not public."""

from headcount.induction.atlas.detectors import every_detector, load_detectors
from headcount.induction.atlas.measure import ATLAS_SEQUENCES, CONTROL_SEQUENCES, has_control
from headcount.induction.passes.copying import check_eigenvalues
from headcount.induction.tokens import prompts
from headcount.induction.tokens.sequences import N_PERIODS
from headcount.induction.tokens.texts import Texts, read_texts, text_rows
from headcount.induction.work import atlas_work, feeding_heads_work, patterns_work, repeat_loss_work, score_heads_work

__all__ = [
    "ATLAS_SEQUENCES",
    "CONTROL_SEQUENCES",
    "N_PERIODS",
    "Texts",
    "atlas_work",
    "check_eigenvalues",
    "every_detector",
    "feeding_heads_work",
    "has_control",
    "load_detectors",
    "patterns_work",
    "prompts",
    "read_texts",
    "repeat_loss_work",
    "score_heads_work",
    "text_rows",
]
