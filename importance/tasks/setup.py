"""A task as it is evaluated."""

from dataclasses import dataclass
from typing import Any

from headcount.importance.tasks.task import Task
from headcount.results import Setting


@dataclass(frozen=True)
class TaskSetup:
    """A task with its number of shots, and the number of documents or examples at most.

    Attributes:
        task: The task.
        shots: Solved examples in front of each document or example.
        limit: Documents or examples at most; None takes all.
        seed: Seed of the shots.
    """

    task: Task
    shots: int
    limit: int | None
    seed: int

    @property
    def setting(self) -> Setting:
        """The setting that its results are named after."""
        return Setting(self.task.name, self.shots)

    @property
    def name(self) -> str:
        """The setting in names of results: `piqa.5shot`."""
        return str(self.setting)

    @property
    def stated(self) -> dict[str, Any]:
        """The provenance that its results carry."""
        asked = {"shots": self.shots, "limit": self.limit, "seed": self.seed}
        return {"task": self.task.name, "profile": self.task.profile, "source": self.task.source, **asked}

    @property
    def asked(self) -> dict[str, Any]:
        """The provenance that a result must have to be its own: rows count, the path of their folder does not."""
        rows = {key: value for key, value in self.task.source.items() if key != "folder"}
        return self.stated | {"source": rows}

    @property
    def documents(self) -> int:
        """The number of documents that are scored, at most."""
        return self._of(len(self.task.rows.scored))

    @property
    def examples(self) -> int:
        """The number of examples that gradients are taken on, at most."""
        return self._of(len(self.task.rows.pool))

    def _of(self, rows: int) -> int:
        return rows if self.limit is None else min(rows, self.limit)
