"""What holds the model on a machine of a cluster, and measures the units that it is told the names of.

Only names travel: a worker builds the study's units itself, from the configuration, and writes what it measures into
the run, which must be on storage that all machines share.
"""

import os
import sys
from dataclasses import replace
from typing import Any

from headcount.progress import Progress, say_warnings
from headcount.results import InputError, open_run
from headcount.study.config import Study
from headcount.study.study import asked_settings, study_units
from headcount.study.target import Target, load_target, manifest_entry
from headcount.study.units import Unit, measure


class Worker:
    """Steps in this order: load, join, then measure as often as there are units.

    Args:
        folder: Where the study was started; paths are relative to it.
        command: The command line that results keep.
        study: What is measured.
        target: The model, and the run.
    """

    def __init__(self, folder: str, command: list[str], study: Study, target: Target) -> None:
        self.folder, self.study, self.target = folder, study, target
        sys.argv = command
        say_warnings()

    def load(self) -> dict[str, Any]:
        """Open the model, and say what a run's manifest says of it.

        Raises:
            InputError: The folder is not there on this machine, or the model cannot be read.
        """
        try:
            os.chdir(self.folder)
        except OSError as error:
            raise InputError(
                f"{self.folder} is not there on {os.uname().nodename}: start the study in a folder that all machines "
                "share"
            ) from error
        self.settings = asked_settings(self.study)
        self.model = load_target(self.target)
        return manifest_entry(self.model)

    def join(self) -> list[Unit]:
        """Open the run, and list the units, without what can only be done here.

        Raises:
            InputError: The run is not there on this machine.
        """
        try:
            run = open_run(self.target.out)
        except InputError as error:
            raise InputError(
                f"the run {self.target.out} is not there on {os.uname().nodename}: --out must be on storage that all "
                "machines share"
            ) from error
        units = study_units(self.model, run, self.study, self.settings)
        self.run, self.units = run, {unit.names[0]: unit for unit in units}
        return [replace(unit, measure=_not_here, work=_not_here) for unit in units]

    def measure(self, name: str) -> list[str]:
        """Measure the unit whose first result has this name; the names of the results measured now."""
        with Progress(0) as progress:
            return measure(self.units[name], self.run, progress)


def _not_here(*_: Any) -> Any:
    raise RuntimeError("expected the worker that has the model to measure this unit")
