"""A study on a Ray cluster: workers that hold the model measure units, one driver hands them out."""

import asyncio
import sys
from collections import Counter
from collections.abc import Awaitable
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

from headcount.cluster.ray_connection import connect
from headcount.cluster.resources import Resources
from headcount.cluster.worker import Worker
from headcount.progress import Progress, say
from headcount.results import InputError, Run
from headcount.study import (
    FailedError,
    Schedule,
    StudyConfig,
    Unit,
    check_settings,
    create_target_run,
    set_aside_outdated,
)
from headcount.target import Target

TRIES = 3
"""The number of workers that one piece of work may cost; then the study ends."""

WorkerArguments = tuple[str, list[str], StudyConfig, Target]


def measure_on_ray(address: str, resources: Resources, config: StudyConfig, target: Target) -> tuple[list[str], Run]:
    """Measure the results that the run does not have yet, on as many workers as the cluster holds.

    Args:
        address: The cluster's address, as `connect` takes it.
        resources: The resources of a worker.
        config: The study.
        target: The model, and the run.

    Returns:
        The names of the results measured now, and the run.

    Raises:
        InputError: Ray is not installed, the cluster does not answer or is too small, or a worker raises it.
        FailedError: Workers were lost again and again.
    """
    target = replace(target, device=resources.device(target.device))
    with redirect_stdout(sys.stderr):  # Ray prints there what it has to say of lost workers, and workers' own output
        ray = connect(address)
        try:
            slots = resources.slots([node["Resources"] for node in ray.nodes() if node["Alive"]])
            say(f"the cluster holds the model {slots} times, one for each worker")
            with Progress(None) as progress:
                driver = Driver(ray, resources, (str(Path.cwd()), sys.argv, config, target), progress)
                asyncio.run(driver.drive(slots))
            if target.replace:
                set_aside_outdated(driver.run)
            return driver.measured, driver.run
        finally:
            ray.shutdown()


class Driver:
    """The process that hands out units to workers until the study is over.

    Attributes:
        measured: The names of the results measured so far.
        run: The run, as soon as a worker has loaded the model.

    Args:
        ray: The module `ray`, connected to the cluster.
        resources: The resources of a worker.
        arguments: The arguments of a worker.
        progress: The bar.
    """

    run: Run
    schedule: Schedule

    def __init__(self, ray: Any, resources: Resources, arguments: WorkerArguments, progress: Progress) -> None:
        self.arguments, self.progress = arguments, progress
        self.measured: list[str] = []
        self._worker = ray.remote(num_gpus=resources.gpus, num_cpus=resources.cpus)(Worker)
        self._errors = ray.exceptions
        self._losses: Counter[str | int] = Counter()
        self._changed = asyncio.Event()
        self._over = False

    async def drive(self, slots: int) -> None:
        """Fill the slots with workers, until every unit is settled."""
        waiting = {asyncio.create_task(self._fill(slot)) for slot in range(slots)}
        while waiting and not self._over:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()

    async def _fill(self, slot: int) -> None:
        """Fill one slot, in which another worker follows a lost one."""
        while True:
            unit = None
            try:
                worker = self._worker.remote(*self.arguments)
                await self._open(worker)
                while (unit := await self._next(slot)) is not None:
                    self.measured += await self._answer(worker.measure.remote(unit.names[0]))
                    self._settle(unit)
                return
            except self._errors.RayTaskError:
                raise
            except self._errors.RayError as error:
                self._lose(slot, unit, error)

    async def _open(self, worker: Any) -> None:
        """The driver creates the run and the workers join it, so that all of them see the same one."""
        model = await self._answer(worker.load.remote())
        run = create_target_run(self.arguments[-1], model)
        units = await self._answer(worker.join.remote())
        if not hasattr(self, "schedule"):
            if not self.arguments[-1].replace:
                check_settings(units, run)
            self.run, self.schedule = run, Schedule(units, run)
            self.progress.expect(sum(unit.steps for unit in units))

    async def _answer(self, request: Awaitable[Any]) -> Any:
        """A worker's answer; its `InputError` is raised as if it came from this process."""
        try:
            return await request
        except self._errors.RayTaskError as error:
            if isinstance(error.cause, InputError):
                raise error.cause from None
            raise

    async def _next(self, slot: int) -> Unit | None:
        """The next unit for a worker, as soon as there is one; None when all are taken."""
        while self.schedule.left:
            if (unit := self.schedule.take(slot)) is not None:
                self.progress.title(unit.title)
                return unit
            self._changed.clear()
            await self._changed.wait()
        return None

    def _settle(self, unit: Unit) -> None:
        self.schedule.settle(unit)
        self.progress.advance(unit.steps)
        self._over = self.schedule.over
        self._changed.set()

    def _lose(self, slot: int, unit: Unit | None, error: Exception) -> None:
        """A worker died: another one repeats its work, unless that has cost too many."""
        work = "opening the model" if unit is None else unit.title
        key = slot if unit is None else unit.names[0]
        self._losses[key] += 1
        if self._losses[key] == TRIES:
            raise FailedError(f"{TRIES} workers were lost at {work}; finished results stay. Ray's error: {error}")
        say(f"a worker was lost at {work}: another one begins that again")
        if unit is not None:
            self.schedule.put_back(unit)
            self._changed.set()
