"""What every measurement returns, and how it is kept on disk.

Scores of heads and layers (`HeadScores`, `LayerScores`), what measuring induction heads gives (`InductionScores`,
`RepeatLoss`), one head at a glance (`HeadProfile`), what heads attend to on a prompt (`Patterns`), how well a model
does on a task (`Accuracy`) and as parts are removed (`PruningCurve`, `PruningGrid`), what comparing scores gives
(`Correlation`, `Overlap`, `Capacity`, ...; as a file, `Table`), the directory that holds a model's results
(`create_run`, `open_run`, `Run`), and the error that speaks to a person (`InputError`).
"""

from headcount.results.errors import InputError
from headcount.results.kinds.accuracy import Accuracy
from headcount.results.kinds.comparisons import (
    Capacity,
    Clusters,
    Correlation,
    CorrelationMatrix,
    Merge,
    Overlap,
    Reliability,
    ShotPair,
)
from headcount.results.kinds.head_profile import HeadProfile, Standing
from headcount.results.kinds.induction_scores import InductionScores
from headcount.results.kinds.patterns import Patterns
from headcount.results.kinds.pruning import PruningCurve, PruningGrid
from headcount.results.kinds.repeat_loss import RepeatLoss
from headcount.results.kinds.scores import HeadScores, LayerScores
from headcount.results.kinds.table import Table
from headcount.results.names import ResultName, Setting
from headcount.results.run import Result, Run, check_folder, create_run, open_run

__all__ = [
    "Accuracy",
    "Capacity",
    "Clusters",
    "Correlation",
    "CorrelationMatrix",
    "HeadProfile",
    "HeadScores",
    "InductionScores",
    "InputError",
    "LayerScores",
    "Merge",
    "Overlap",
    "Patterns",
    "PruningCurve",
    "PruningGrid",
    "Reliability",
    "RepeatLoss",
    "Result",
    "ResultName",
    "Run",
    "Setting",
    "ShotPair",
    "Standing",
    "Table",
    "check_folder",
    "create_run",
    "open_run",
]
