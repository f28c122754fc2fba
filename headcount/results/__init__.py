"""Results of measurements, and the files and run directories that hold them.

Every measurement returns one of these frozen dataclasses of plain tensors and numbers. None of them knows a model.

* `HeadScores`, `LayerScores`, `ExpertScores`: one number per head, layer or expert, with variance, count and folds.
  `InductionScores` are the three maps of induction heads, `CausalGates` those of gates on heads, `RepeatLoss` is the
  in-context learning score.
* `HeadAtlas`: many scores of every head, on random tokens and on text, with `TextExamples` of each.
* `PairScores`: one number per pair of an earlier head and a later one.
* `HeadProfile`: one head at a glance; `Patterns`: the attention of every head on a prompt.
* `Accuracy`: the accuracy on a task; `PruningCurve`, `PruningGrid`: the same as parts of the model are removed;
  `SetEffects`: the same without whole sets of heads, beside random sets.
* `Correlation`, `Overlap`, `Capacity` and others: comparisons of scores; `Table`: any of them as rows in a file.

All but the comparisons are saved and loaded as one file (`save`, `load`). `create_run` and `open_run` give a `Run`, the
directory that holds the results of one model by name; `ResultName` and `Setting` are the grammar of these names.
`InputError` is the error for bad input, with a message that a person can act on.
"""

from typing import TYPE_CHECKING

from headcount.lazy import lazy_names

if TYPE_CHECKING:  # imported at their first use
    from headcount.results.errors import InputError
    from headcount.results.kinds.accuracy import Accuracy
    from headcount.results.kinds.atlas.head_atlas import HeadAtlas
    from headcount.results.kinds.atlas.text_examples import TextExample, TextExamples
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
    from headcount.results.kinds.every_kind import Result
    from headcount.results.kinds.head_maps import CausalGates, InductionScores
    from headcount.results.kinds.head_profile import HeadProfile, Standing
    from headcount.results.kinds.patterns import Patterns
    from headcount.results.kinds.pruning import PruningCurve, PruningGrid
    from headcount.results.kinds.repeat_loss import RepeatLoss
    from headcount.results.kinds.scores import ExpertScores, HeadScores, LayerScores, PairScores
    from headcount.results.kinds.set_effects import SetEffects
    from headcount.results.kinds.table import Table
    from headcount.results.names import ResultName, Setting
    from headcount.results.run import Run, check_folder, create_run, open_run

__all__ = [
    "Accuracy",
    "Capacity",
    "CausalGates",
    "Clusters",
    "Correlation",
    "CorrelationMatrix",
    "ExpertScores",
    "HeadAtlas",
    "HeadProfile",
    "HeadScores",
    "InductionScores",
    "InputError",
    "LayerScores",
    "Merge",
    "Overlap",
    "PairScores",
    "Patterns",
    "PruningCurve",
    "PruningGrid",
    "Reliability",
    "RepeatLoss",
    "Result",
    "ResultName",
    "Run",
    "SetEffects",
    "Setting",
    "ShotPair",
    "Standing",
    "Table",
    "TextExample",
    "TextExamples",
    "check_folder",
    "create_run",
    "open_run",
]

__getattr__, __dir__ = lazy_names(__name__, __file__)
