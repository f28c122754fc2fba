"""Units of work: what appears in a run together, is measured once, and is measured again where its inputs changed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from headcount.progress import Progress, say
from results import InputError, Result, Run


@dataclass(frozen=True)
class Unit:
    """A piece of work whose results appear together, or not at all.

    Attributes:
        title: What a person is told is being measured.
        names: The results it leaves in the run.
        settings: What must stand in a result's provenance for it to be this unit's.
        steps: How many steps it counts on the progress bar.
        measure: Does the work; takes the bar and returns the results in the order of `names`.
    """

    title: str
    names: tuple[str, ...]
    settings: dict[str, Any]
    steps: int
    measure: Callable[[Progress], tuple[Result, ...]]

    def done(self, run: Run) -> bool:
        """Whether the run has all results, made with these settings; a damaged one is set aside, and measured again."""
        return all(self._has(run, name) for name in self.names)

    def _has(self, run: Run, name: str) -> bool:
        if name not in run:
            return False
        try:
            made = run[name].provenance
        except InputError as error:
            aside = run.set_aside(name)
            say(f"{error}; kept as {aside.name}, measuring again")
            return False
        return _says(made, self.settings)


def _says(made: Any, asked: Any) -> bool:
    """Whether a provenance says everything that is asked of it; it may say more."""
    if isinstance(asked, dict):
        return isinstance(made, dict) and all(key in made and _says(made[key], asked[key]) for key in asked)
    return bool(made == asked)


def measure_units(units: Sequence[Unit], run: Run) -> list[str]:
    """Measure what the run does not have yet; each unit's results are on disk before the next one begins.

    Returns:
        The names of the results measured now.
    """
    missing = [unit for unit in units if not unit.done(run)]
    measured: list[str] = []
    with Progress(sum(unit.steps for unit in missing)) as progress:
        for unit in missing:
            progress.title(unit.title)
            for name, result in zip(unit.names, unit.measure(progress), strict=True):
                run.save(name, result)
                measured.append(name)
    return measured
