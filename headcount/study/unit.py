"""A unit of work: results that appear in a run together, measured once, and again where their inputs changed."""

import hashlib
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from headcount.progress import Progress, say
from headcount.results import InputError, Result, Run
from headcount.tracing.internal import Work, no_work

OF_THIS_VERSION = {
    "ties": "ordered equal drops of accuracy by layer, not by the drop of log-probability",
    "rankings": "ordered equal drops of accuracy by layer, not by the drop of log-probability",
    "ranking": "ranked heads again by the reduction token, where this one does by example",
    "lengths": "took the shortest sequences, where this one spreads the lengths over the whole range",
}
"""Settings that results of earlier versions lack, and what those did."""


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


def check_settings(units: Iterable[Unit], run: Run) -> None:
    """Refuse to measure results that the run has with other settings: they would be replaced.

    Tables that are computed from results alone, without the model, are computed again at need.

    Raises:
        InputError: There is such a result.
    """
    for unit in (unit for unit in units if unit.runs_model):
        for name in unit.names:
            result = _read(run, name)
            if result is not None and (other := _first_difference(result.provenance, unit.settings)) is not None:
                raise InputError(
                    f"{run.folder} has {name} {other}: choose another --out to keep both, or --replace to measure it "
                    "again; what was derived from it is then set aside"
                )


def _first_difference(provenance: dict[str, Any], settings: dict[str, Any]) -> str | None:
    """Return the first setting that a provenance has otherwise, in words."""
    for key, value in settings.items():
        if not _contains(provenance.get(key), value):
            if key in OF_THIS_VERSION and not _mentions(provenance.get(key), value):
                return f"from an earlier version, which {OF_THIS_VERSION[key]}"
            return f"with {key} = {provenance.get(key)!r:.60}, and {value!r:.60} is requested"
    return None


def _mentions(provenance: Any, expected: Any) -> bool:
    """Return True if a provenance has an entry, of whatever value, for every expected one."""
    if isinstance(expected, dict):
        return isinstance(provenance, dict) and all(_mentions(provenance.get(key), expected[key]) for key in expected)
    return provenance is not None


def set_aside_outdated(run: Run) -> None:
    """Set aside every result that was derived from another which has been measured again since, and say so.

    What was derived from those is set aside with them.
    """
    moved: set[str] = set()
    digests: dict[str, str | None] = {}
    while (outdated := _first_outdated(run, moved, digests)) is not None:
        name, needed = outdated
        aside = run.set_aside(name, ".outdated")
        moved.add(name)
        say(f"{name} was derived from another {needed}; saved as {aside.name}")


def _first_outdated(run: Run, moved: set[str], digests: dict[str, str | None]) -> tuple[str, str] | None:
    """Return a result that is outdated, and the result that it was derived from."""
    for name in run.names:
        result = _read(run, name)
        inputs = None if result is None else result.provenance.get("inputs")
        for needed, digest in inputs.items() if isinstance(inputs, dict) else ():
            if needed not in digests:
                digests[needed] = _digest(run, needed)
            if needed in moved or digests[needed] not in (None, digest):
                return name, needed
    return None


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
