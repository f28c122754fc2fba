"""Which unit of work comes next: one after another in a process, or handed out to several that work at once."""

from collections.abc import Hashable, Sequence

from headcount.progress import Progress, say
from headcount.results import Run
from headcount.study.units import Unit, measure


class Schedule:
    """The units that are left to measure, handed out in order, each as soon as what it needs is there.

    A process that takes them one after another gets them in their order. Where several units are out at once, or other
    processes measure some, a unit waits until those whose results it needs are finished or left out. A partial unit
    does not wait for other processes: whoever comes last measures it again.

    Attributes:
        left: The units that nobody has taken yet, in order.

    Args:
        units: The units to hand out, in order.
        run: Where other processes leave their results.
        elsewhere: Units that other processes measure.
    """

    def __init__(self, units: Sequence[Unit], run: Run, elsewhere: Sequence[Unit] = ()) -> None:
        self.left = list(units)
        self._run = run
        self._out: list[Unit] = []
        needed = {name for unit in units if not unit.partial for name in unit.needs}
        self._elsewhere = [unit for unit in elsewhere if not needed.isdisjoint(unit.names)]
        self._holders: dict[str, Hashable] = {}

    @property
    def over(self) -> bool:
        """Whether every unit was handed out and settled."""
        return not self.left and not self._out

    def take(self, worker: Hashable = None) -> Unit | None:
        """The next unit whose needs are there, None if all that are left wait for others.

        Units of one group go to the worker that had the first of them, unless another one would have nothing to do.
        """
        self._elsewhere = [unit for unit in self._elsewhere if not unit.done(self._run, unit.inputs(self._run))]
        mine, theirs = _names([*self.left, *self._out]), _names(self._elsewhere)
        ready = [
            unit
            for unit in self.left
            if mine.isdisjoint(unit.needs) and (unit.partial or theirs.isdisjoint(unit.needs))
        ]
        own = [unit for unit in ready if not unit.group or self._holders.get(unit.group, worker) == worker]
        unit = next(iter(own or ready), None)
        if unit is not None:
            self.left.remove(unit)
            self._out.append(unit)
            if unit.group:
                self._holders.setdefault(unit.group, worker)
        return unit

    def settle(self, unit: Unit) -> None:
        """A unit that was handed out is finished, or left out."""
        self._out.remove(unit)

    def put_back(self, unit: Unit) -> None:
        """A unit that was handed out will not come: its worker is lost, and it goes to the next one."""
        self._out.remove(unit)
        self.left.insert(0, unit)
        self._holders.pop(unit.group, None)  # what it had run of the group is lost with it


def measure_units(units: Sequence[Unit], run: Run, elsewhere: Sequence[Unit] = ()) -> list[str]:
    """Measure what the run does not have yet; each unit's results are on disk before the next one begins.

    Args:
        units: The units, each after those whose results it needs.
        run: Where the results go.
        elsewhere: Units that other processes measure: what needs them is measured only if they are finished.

    Returns:
        The names of the results measured now.
    """
    schedule = Schedule(units, run, elsewhere)
    measured: list[str] = []
    with Progress(sum(unit.steps for unit in units)) as progress:
        while (unit := schedule.take()) is not None:
            measured += measure(unit, run, progress)
            schedule.settle(unit)
    if schedule.left:
        say(
            f"{len(schedule.left)} units wait for results that other shares have yet to measure, first: "
            f"{schedule.left[0].title}; when the others have ended, give this command again"
        )
    return measured


def _names(units: Sequence[Unit]) -> set[str]:
    return {name for unit in units for name in unit.names}
