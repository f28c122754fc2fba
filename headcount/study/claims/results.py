"""The results of a study on which claims are evaluated."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from headcount.results import Accuracy, PruningCurve, ResultName, Setting, Table


@dataclass(frozen=True)
class StudyResults:
    """The results of a study, with what is known of its tasks.

    Attributes:
        results: Every result of the run, by name.
        tasks: The tasks by number of shots.
        unseen: The tasks that the means are not over.
    """

    results: Mapping[str, Any]
    tasks: Mapping[int, Sequence[str]]
    unseen: Sequence[str]

    def solved(self) -> list[Setting]:
        """Return the settings on which the model beats chance and the best constant answer."""
        settings = [Setting(task, shots) for shots, tasks in self.tasks.items() for task in tasks]
        accuracies = {setting: self.get(ResultName.accuracy(setting)) for setting in settings}
        return [
            setting
            for setting, accuracy in accuracies.items()
            if isinstance(accuracy, Accuracy) and accuracy.beats_guessing
        ]

    def curves(self, component: str, ranking: str) -> dict[Setting, PruningCurve]:
        """Return the pruning curves of the settings that the model can do."""
        curves = {setting: self.get(ResultName.curve(component, setting, ranking)) for setting in self.solved()}
        return {setting: curve for setting, curve in curves.items() if isinstance(curve, PruningCurve)}

    def rows(self, name: ResultName) -> list[dict[str, Any]]:
        """Return the rows of a table; none if it is missing."""
        table = self.get(name)
        return table.records() if isinstance(table, Table) else []

    def get(self, name: ResultName) -> Any:
        """Return a result; None if it is missing."""
        return self.results.get(str(name))
