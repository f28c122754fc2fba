"""The units of work of a run: what is measured, and what is already there."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import induction
from headcount.progress import Progress, say
from results import HeadScores, InductionScores, InputError, RepeatLoss, Run
from tracing import Model, randomised

CONTROL_SEQUENCES = 10
"""Random weights differ little from sequence to sequence: the control takes no more than these."""


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
    measure: Callable[[Progress], tuple[HeadScores | RepeatLoss, ...]]

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
        return all(made.get(key) == value for key, value in self.settings.items())


def induction_units(model: Model, n_sequences: int, seed: int, *, control: bool) -> list[Unit]:
    """Everything the `induction` command measures."""
    asked = {"seed": seed, "n_sequences": n_sequences}
    few = min(n_sequences, CONTROL_SEQUENCES)

    def scores(progress: Progress) -> tuple[HeadScores, ...]:
        return _maps(induction.score_heads(model, n_sequences, seed, progress=progress.advance))

    def loss(progress: Progress) -> tuple[RepeatLoss]:
        return (induction.repeat_loss(model, min(n_sequences, 20), seed, progress=progress.advance),)

    def random(progress: Progress) -> tuple[HeadScores, ...]:
        return _maps(induction.score_heads(randomised(model, seed), few, seed, progress=progress.advance))

    units = [
        Unit("prefix matching and copying", _named("induction"), asked, 2 * n_sequences, scores),
        Unit("loss by repeat", ("induction/repeat_loss",), {"seed": seed}, min(n_sequences, 20), loss),
    ]
    if control:
        units.append(
            Unit("the same with random weights", _named("control"), asked | {"n_sequences": few}, 2 * few, random)
        )
    return units


def measure_units(units: list[Unit], run: Run) -> list[str]:
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


def _named(folder: str) -> tuple[str, ...]:
    return tuple(f"{folder}/{name}" for name in ("prefix_matching", "copying", "copying_published"))


def _maps(scores: InductionScores) -> tuple[HeadScores, ...]:
    return scores.prefix_matching, scores.copying, scores.copying_published
