"""A worker on a machine of a cluster: it holds the model, and measures units by name.

Only names travel: a worker builds the study's units from the configuration, and writes their results into the run,
which must be on storage that all machines share.
"""

import os
import platform
import sys
from dataclasses import replace
from typing import Any

from headcount.progress import Progress, say_warnings
from headcount.results import InputError, open_run
from headcount.study import StudyConfig, Unit, load_target, load_tasks, manifest_entry, measure_unit, study_units
from headcount.target import Target


class Worker:
    """A worker's steps in their order: load, join, then measure as often as there are units.

    Args:
        folder: The folder in which the study was started; paths are relative to it.
        command: The command line that results record.
        config: The study.
        target: The model, and the run.
    """

    def __init__(self, folder: str, command: list[str], config: StudyConfig, target: Target) -> None:
        self.folder, self.config, self.target = folder, config, target
        sys.argv = command
        say_warnings()

    def load(self) -> dict[str, Any]:
        """Load the model, and return its entry in a run's manifest.

        Raises:
            InputError: The folder is missing on this machine, or the model cannot be read.
        """
        try:
            os.chdir(self.folder)
        except OSError as error:
            raise InputError(
                f"{self.folder} is missing on {platform.node()}: start the study in a folder that all machines share"
            ) from error
        self.tasks = load_tasks(self.config)
        self.model = load_target(self.target)
        return manifest_entry(self.model)

    def join(self) -> list[Unit]:
        """Open the run, and return the units without the functions that need this worker's model.

        Raises:
            InputError: The run is missing on this machine.
        """
        try:
            run = open_run(self.target.out)
        except InputError as error:
            raise InputError(
                f"the run {self.target.out} is missing on {platform.node()}: --out must be on storage that all "
                "machines share"
            ) from error
        units = study_units(self.model, run, self.config, self.tasks)
        self.run, self.units = run, {unit.names[0]: unit for unit in units}
        return [replace(unit, measure=_only_in_worker, work=_only_in_worker) for unit in units]

    def measure(self, name: str) -> list[str]:
        """Measure the unit whose first result has this name; return the names of the results measured now."""
        with Progress(0) as progress:
            return measure_unit(self.units[name], self.run, progress)


def _only_in_worker(*_: Any) -> Any:
    raise RuntimeError("expected the worker that has the model to measure this unit")
