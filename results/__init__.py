"""What every measurement returns, and how it is kept on disk.

Scores of heads and layers (`HeadScores`, `LayerScores`), what measuring induction heads gives (`InductionScores`,
`RepeatLoss`), one head at a glance (`HeadProfile`), what heads attend to on a prompt (`Patterns`), how well a model
does on a task (`Accuracy`) and as parts are removed (`PruningCurve`, `PruningGrid`), what comparing scores gives
(`Correlation`, `Overlap`, `Capacity`, ...; as a file, `Table`), the directory that holds a model's results
(`create_run`, `open_run`, `Run`), and the error that speaks to a person (`InputError`).
"""

from results.accuracy import Accuracy
from results.comparisons import (
    Capacity,
    Clusters,
    Correlation,
    CorrelationMatrix,
    Merge,
    Overlap,
    Reliability,
    ShotPair,
)
from results.errors import InputError
from results.induction import InductionScores
from results.learning import RepeatLoss
from results.patterns import Patterns
from results.profile import HeadProfile, Standing
from results.pruning import PruningCurve, PruningGrid
from results.run import Result, Run, check_folder, create_run, open_run
from results.scores import HeadScores, LayerScores
from results.table import Table

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
    "Run",
    "ShotPair",
    "Standing",
    "Table",
    "check_folder",
    "create_run",
    "open_run",
]
