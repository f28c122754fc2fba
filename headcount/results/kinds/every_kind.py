"""Every kind of result that a run holds, by the name of its class."""

from collections.abc import Mapping
from typing import get_args

from headcount.results.kinds.accuracy import Accuracy
from headcount.results.kinds.atlas.head_atlas import HeadAtlas
from headcount.results.kinds.head_profile import HeadProfile
from headcount.results.kinds.patterns import Patterns
from headcount.results.kinds.pruning import PruningCurve, PruningGrid
from headcount.results.kinds.repeat_loss import RepeatLoss
from headcount.results.kinds.scores import ExpertScores, HeadScores, LayerScores, PairScores
from headcount.results.kinds.set_effects import SetEffects
from headcount.results.kinds.table import Table

Scored = HeadScores | LayerScores | ExpertScores
Measured = RepeatLoss | Accuracy | PruningCurve | PruningGrid | SetEffects | Table | Patterns
Result = Scored | PairScores | HeadAtlas | HeadProfile | Measured

KINDS: Mapping[str, type[Result]] = {kind.__name__: kind for kind in get_args(Result)}
