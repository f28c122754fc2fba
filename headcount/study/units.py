"""Units of work: what appears in a run together, is measured once, and is measured again where its inputs changed."""

import hashlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from headcount.progress import Progress, say
from headcount.results import InputError, Result, Run
from headcount.tracing.internal import Work, no_work


class ImpossibleError(Exception):
    """What a unit was to measure does not exist in this run; the message says why."""


class FailedError(Exception):
    """Nothing is wrong with what was asked for, but it cannot go on; the message says why."""


@dataclass(frozen=True)
class Unit:
    """A piece of work whose results appear together, or not at all.

    Attributes:
        title: What a person is told is being measured.
        names: The results it leaves in the run.
        settings: What must stand in a result's provenance for it to be this unit's.
        steps: How many steps it counts on the progress bar.
        measure: Does the work; takes the bar and returns the results in the order of `names`.
        needs: Results of the run that it reads; where one of them changed since, the unit is measured again.
        work: Says what passes through the model, from which its costs follow.
        partial: Whether some of what it needs may be missing.
        group: Units of one group share what they have run, or need one another: best left to one process.
    """

    title: str
    names: tuple[str, ...]
    settings: dict[str, Any]
    steps: int
    measure: Callable[[Progress], tuple[Result, ...]]
    needs: tuple[str, ...] = ()
    work: Work = no_work
    partial: bool = False
    group: str = ""

    @property
    def runs_model(self) -> bool:
        """Whether anything passes through the model; what does not is cheap."""
        return self.work is not no_work

    def inputs(self, run: Run) -> dict[str, Any]:
        """What its results say of the results that it reads: a digest of each, None for one that is not there."""
        return {"inputs": {name: _digest(run, name) for name in self.needs}} if self.needs else {}

    def done(self, run: Run, inputs: dict[str, Any]) -> bool:
        """Whether the run has all results, made with these settings from these inputs.

        A damaged one is set aside, and measured again.
        """
        return all(_has(run, name, self.settings | inputs) for name in self.names)


def _has(run: Run, name: str, asked: dict[str, Any]) -> bool:
    made = _read(run, name)
    return made is not None and _says(made.provenance, asked)


def _read(run: Run, name: str) -> Result | None:
    """A result of the run, if it is there; a damaged one is set aside."""
    try:
        return run.get(name)
    except InputError as error:
        with suppress(KeyError):  # another process has set it aside just now
            aside = run.set_aside(name)
            say(f"{error}; kept as {aside.name}, measuring again")
    except KeyError:
        pass
    return None


def _digest(run: Run, name: str) -> str | None:
    """What a result says, in 64 hexadecimal digits; when and on which machine it was made does not count."""
    result = _read(run, name)
    if result is None:
        return None
    content = result.to_content()
    said = hashlib.sha256(repr({key: value for key, value in content.fields.items() if key != "provenance"}).encode())
    for key in sorted(content.tensors):
        said.update(key.encode() + content.tensors[key].numpy().tobytes())
    return said.hexdigest()


def _says(made: Any, asked: Any) -> bool:
    """Whether a provenance says everything that is asked of it; it may say more, and need not say what is None."""
    if isinstance(asked, dict):
        return isinstance(made, dict) and all(_says(made.get(key), asked[key]) for key in asked)
    return bool(made == asked)


def measure(unit: Unit, run: Run, progress: Progress) -> list[str]:
    """Measure a unit, unless the run has its results already or lacks what it needs.

    Returns:
        The names of the results measured now; they are on disk.
    """
    inputs = unit.inputs(run)
    if unit.done(run, inputs):
        progress.advance(unit.steps)
        return []
    progress.title(unit.title)
    missing = [name for name, digest in inputs.get("inputs", {}).items() if digest is None]
    if missing and not unit.partial:
        say(f"{unit.title}: left out, since the run has no {', '.join(missing)}")
        return []
    try:
        results = unit.measure(progress)
    except ImpossibleError as reason:
        say(f"{unit.title}: left out, since {reason}")
        return []
    for name, result in zip(unit.names, results, strict=True):
        # Where a process was killed between two of a unit's results, the first ones are there: finished files stay.
        if not _has(run, name, unit.settings | inputs):
            run.save(name, replace(result, provenance=result.provenance | inputs))
    return list(unit.names)
