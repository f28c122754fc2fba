"""A unit of work: results that appear in a run together, measured once, and again where their inputs changed."""

import hashlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from headcount.progress import Progress, say
from headcount.results import InputError, Result, Run
from headcount.tracing.internal import Work, no_work


class ImpossibleError(Exception):
    """The unit cannot be measured on this model or run, and is left out; the message gives the reason."""


class FailedError(Exception):
    """The input is right, but the study cannot go on; the message gives the reason."""


@dataclass(frozen=True)
class Unit:
    """A piece of work whose results appear together, or not at all.

    Attributes:
        title: The name of the work, for messages.
        names: The names of the results that it leaves in the run.
        settings: Entries that the provenance of a stored result must have for it to count as done.
        steps: The number of steps that it counts on the progress bar.
        measure: Does the work; takes the bar and returns the results in the order of `names`.
        needs: Results of the run that it reads; where one of them changed since, the unit is measured again.
        work: Returns the passes through the model, from which its costs follow.
        partial: True if it is measured even where some of its needs are missing.
        group: Units of one group share passes that were run before, or need one another: best left to one process.
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
        """True if anything passes through the model; a unit without passes is cheap."""
        return self.work is not no_work

    def inputs(self, run: Run) -> dict[str, Any]:
        """Return the part of its results' provenance about its needs: a digest of each, None for a missing one."""
        return {"inputs": {name: _digest(run, name) for name in self.needs}} if self.needs else {}

    def done(self, run: Run, inputs: dict[str, Any]) -> bool:
        """Return True if the run has all results, measured with these settings from these inputs.

        A damaged result is set aside, and counts as missing.
        """
        return all(_has(run, name, self.settings | inputs) for name in self.names)


def measure_unit(unit: Unit, run: Run, progress: Progress) -> list[str]:
    """Measure a unit, unless the run has its results already or lacks its needs.

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


def _has(run: Run, name: str, expected: dict[str, Any]) -> bool:
    """True if the run has a result with this provenance."""
    result = _read(run, name)
    return result is not None and _contains(result.provenance, expected)


def _read(run: Run, name: str) -> Result | None:
    """A result of the run, if it is there; a damaged one is set aside."""
    try:
        return run.get(name)
    except InputError as error:
        with suppress(KeyError):  # another process has set it aside just now
            aside = run.set_aside(name)
            say(f"{error}; saved as {aside.name}, measuring again")
    except KeyError:
        pass
    return None


def _digest(run: Run, name: str) -> str | None:
    """A result's content in 64 hexadecimal digits; its provenance, such as time and machine, does not count."""
    result = _read(run, name)
    if result is None:
        return None
    content = result.to_content()
    fields = {key: value for key, value in content.fields.items() if key != "provenance"}
    digest = hashlib.sha256(repr(fields).encode())
    for key in sorted(content.tensors):
        digest.update(key.encode() + content.tensors[key].numpy().tobytes())
    return digest.hexdigest()


def _contains(provenance: Any, expected: Any) -> bool:
    """True if a provenance has every expected entry; it may have more, and entries of None may be missing."""
    if isinstance(expected, dict):
        return isinstance(provenance, dict) and all(_contains(provenance.get(key), expected[key]) for key in expected)
    return bool(provenance == expected)
