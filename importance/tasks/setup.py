"""A task with the options that it is evaluated with."""

from dataclasses import dataclass
from typing import Any

from headcount.importance.tasks.task import Task
from headcount.results import Setting


@dataclass(frozen=True)
class TaskSetup:
    """A task with its number of shots, its seed, and the number of documents or examples at most.

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
    def provenance(self) -> dict[str, Any]:
        """The provenance that its results carry."""
        options = {"shots": self.shots, "limit": self.limit, "seed": self.seed}
        encoding = {"encoding": self.task.encoding}
        return {"task": self.task.name, "profile": self.task.profile, "source": self.task.source, **encoding, **options}

    @property
    def identity(self) -> dict[str, Any]:
        """The provenance that identifies a result of this setup: it has the rows, but not the path of their folder."""
        rows = {key: value for key, value in self.task.source.items() if key != "folder"}
        return self.provenance | {"source": rows}

    @property
    def documents(self) -> int:
        """The number of documents that are scored, at most."""
        return self.at_most(len(self.task.rows.scored))

    @property
    def examples(self) -> int:
        """The number of examples that gradients are taken on, at most."""
        return self.at_most(len(self.task.rows.pool))

    def at_most(self, rows: int) -> int:
        """Return a number of rows, or the limit if that is lower."""
        return rows if self.limit is None else min(rows, self.limit)
