"""Units of a study handed out, each once its inputs exist: to one process, or to several at once."""

from collections.abc import Hashable, Sequence

from headcount.progress import Progress, say
from headcount.results import Run
from headcount.study.unit import Unit, check_settings, measure_unit, set_aside_outdated


class Schedule:
    """The units that are left to measure, handed out in order, each as soon as its needs are there.

    A process that takes them one after another gets them in their order. Where several units are out at once, or other
    processes measure some, a unit waits until those whose results it needs are finished or left out. A partial unit
    does not wait for other processes: the last process measures it again.

    Attributes:
        left: The units that no worker has taken yet, in order.

    Args:
        units: The units to hand out, in order.
        run: The run in which other processes leave their results.
        elsewhere: Units that other processes measure.
    """

    def __init__(self, units: Sequence[Unit], run: Run, elsewhere: Sequence[Unit] = ()) -> None:
        self.left = list(units)
        self._run = run
        self._taken: list[Unit] = []
        needed = {name for unit in units if not unit.partial for name in unit.needs}
        self._elsewhere = [unit for unit in elsewhere if not needed.isdisjoint(unit.names)]
        self._group_workers: dict[str, Hashable] = {}

    @property
    def over(self) -> bool:
        """True if every unit was handed out and settled."""
        return not self.left and not self._taken

    def take(self, worker: Hashable = None) -> Unit | None:
        """Return the next unit whose needs are there; None if every unit that is left has to wait.

        Units of one group go to the worker that had the first of them, unless another worker would have nothing to do.
        """
        self._elsewhere = [unit for unit in self._elsewhere if not unit.done(self._run, unit.inputs(self._run))]
        pending_here, pending_elsewhere = _names([*self.left, *self._taken]), _names(self._elsewhere)
        ready = [
            unit
            for unit in self.left
            if pending_here.isdisjoint(unit.needs) and (unit.partial or pending_elsewhere.isdisjoint(unit.needs))
        ]
        of_worker = [unit for unit in ready if not unit.group or self._group_workers.get(unit.group, worker) == worker]
        unit = next(iter(of_worker or ready), None)
        if unit is not None:
            self.left.remove(unit)
            self._taken.append(unit)
            if unit.group:
                self._group_workers.setdefault(unit.group, worker)
        return unit

    def settle(self, unit: Unit) -> None:
        """Note that a unit that was handed out is finished, or left out."""
        self._taken.remove(unit)

    def put_back(self, unit: Unit) -> None:
        """Take back a unit whose worker is lost: it comes next, for any worker."""
        self._taken.remove(unit)
        self.left.insert(0, unit)
        self._group_workers.pop(unit.group, None)  # the passes that the worker had run of the group are lost with it


def measure_units(
    units: Sequence[Unit], run: Run, elsewhere: Sequence[Unit] = (), *, replace: bool = False
) -> list[str]:
    """Measure the units that the run does not have yet; each unit's results are on disk before the next one begins.

    Args:
        units: The units, each after those whose results it needs.
        run: The run that takes the results.
        elsewhere: Units that other processes measure: a unit that needs them is measured only if they are finished.
        replace: True measures again what the run has with other settings, and sets aside what was derived from it.

    Returns:
        The names of the results measured now.

    Raises:
        InputError: The run has one of the results with other settings, and `replace` is False.
    """
    if not replace:
        check_settings(units, run)
    schedule = Schedule(units, run, elsewhere)
    measured: list[str] = []
    with Progress(sum(unit.steps for unit in units)) as progress:
        while (unit := schedule.take()) is not None:
            measured += measure_unit(unit, run, progress)
            schedule.settle(unit)
    if replace:
        set_aside_outdated(run)
    if schedule.left:
        say(
            f"{len(schedule.left)} units wait for results that other shares have yet to measure, first: "
            f"{schedule.left[0].title}; when the others have ended, run this command again"
        )
    return measured


def _names(units: Sequence[Unit]) -> set[str]:
    return {name for unit in units for name in unit.names}
