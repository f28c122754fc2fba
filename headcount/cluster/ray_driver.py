"""A study on a Ray cluster: workers that hold the model measure units, one driver hands them out."""

import asyncio
import logging
import os
import socket
import sys
from collections import Counter
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from headcount.cluster.worker import Worker
from headcount.progress import Progress, say
from headcount.results import InputError, Run, create_run
from headcount.study.config import Study
from headcount.study.schedule import Schedule
from headcount.study.target import Target
from headcount.study.units import FailedError, Unit

TRIES = 3
"""What has cost so many workers is not tried again."""
STORE = 80_000_000
"""Bytes of memory that Ray shares between processes of this machine; it wants so many at least, and names need few."""
PATIENCE = 10.0
"""Seconds in which the cluster must answer."""

Arguments = tuple[str, list[str], Study, Target]


@dataclass(frozen=True)
class Need:
    """What one model takes of one machine.

    Attributes:
        gpus: GPUs; a part of one if several models are to share it.
        cpus: CPU cores.
    """

    gpus: float = 0.0
    cpus: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.gpus < 1e6 or (self.gpus > 1 and self.gpus % 1):
            raise InputError(f"--gpus-per-model must be a whole number, or a part of one GPU, not {self.gpus:g}")
        if self.cpus < 1:
            raise InputError(f"--cpus-per-model must be 1 or more, not {self.cpus}")

    def device(self, asked: str | None) -> str | None:
        """Where a worker puts the model: on all GPUs that it has, unless the study says something else.

        Raises:
            InputError: The study asks for a GPU, and no worker has one.
        """
        if asked not in (None, "cpu") and not self.gpus:
            raise InputError(f"device {asked} needs GPUs: --gpus-per-model says how many of them a model takes")
        return asked or (None if not self.gpus else "cuda" if self.gpus <= 1 else "auto")

    def places(self, machines: Sequence[dict[str, float]]) -> int:
        """How many models these machines hold together.

        Raises:
            InputError: None holds one.
        """
        asked = {kind: number for kind, number in (("GPU", self.gpus), ("CPU", self.cpus)) if number}
        found = sum(min(int(one.get(kind, 0) / number) for kind, number in asked.items()) for one in machines)
        if not found:
            has = " and ".join(f"{one.get('GPU', 0):g} GPUs, {one.get('CPU', 0):g} CPUs" for one in machines)
            raise InputError(
                f"expected a machine with {self.gpus:g} GPUs and {self.cpus} CPUs, the cluster's have {has or 'none'}: "
                "change --gpus-per-model or --cpus-per-model"
            )
        return found


def measure_on_ray(address: str, need: Need, study: Study, target: Target) -> tuple[list[str], Run]:
    """Measure what the run does not have yet, on as many workers as the cluster holds.

    Args:
        address: The cluster's, `auto` for the one that this machine is part of, or `local` for one of this machine
            alone, which ends with the study.
        need: What a worker takes.
        study: What is measured.
        target: The model, and the run.

    Returns:
        The names of the results measured now, and the run.

    Raises:
        InputError: Ray is not installed, the cluster is not to be had or too small, or a worker says so.
        FailedError: Workers were lost again and again.
    """
    where = replace(target, device=need.device(target.device))
    ray = _started(address)
    try:
        places = need.places([node["Resources"] for node in ray.nodes() if node["Alive"]])
        say(f"the cluster holds the model {places} times")
        with Progress(None) as progress:
            driver = Driver(ray, need, (str(Path.cwd()), sys.argv, study, where), progress)
            asyncio.run(driver.drive(places))
        return driver.measured, driver.run
    finally:
        ray.shutdown()


def _started(address: str) -> Any:
    """Ray, in touch with the cluster."""
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # what it warns that it will do by itself
    try:
        import ray
    except ImportError as error:
        raise InputError("--ray needs Ray: pip install 'headcount[ray]'") from error
    here: dict[str, Any] = {}
    if address == "local":
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        here = {"include_dashboard": False, "object_store_memory": STORE}
    try:
        if address not in ("auto", "local"):
            _reach(address)
        ray.init(address=address, logging_level=logging.ERROR, **here)
    except (OSError, RuntimeError, ValueError) as error:  # a ConnectionError is an OSError
        raise InputError(
            f"no Ray cluster at {address} ({error}): expected HOST:PORT, auto on a machine of a cluster that ray start "
            "has made, or local"
        ) from error
    return ray


def _reach(address: str) -> None:
    """Fail at once where nobody listens: Ray itself tries for minutes.

    Raises:
        OSError: Nobody does.
        ValueError: It is not HOST:PORT.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not port.isdigit():
        raise ValueError("it names no port")
    socket.create_connection((host, int(port)), timeout=PATIENCE).close()


class Driver:
    """Keeps workers busy until the study is over.

    Attributes:
        measured: The names of the results measured so far.
        run: The run, as soon as a worker has said what the model is.

    Args:
        ray: Ray, in touch with the cluster.
        need: What a worker takes.
        arguments: What a worker is made of.
        progress: The bar.
    """

    run: Run
    schedule: Schedule

    def __init__(
        self, ray: Any, need: Need, arguments: tuple[str, list[str], Study, Target], progress: Progress
    ) -> None:
        self.arguments, self.progress = arguments, progress
        self.measured: list[str] = []
        self._worker = ray.remote(num_gpus=need.gpus, num_cpus=need.cpus)(Worker)
        self._errors = ray.exceptions
        self._lost: Counter[str | int] = Counter()
        self._changed = asyncio.Event()
        self._over = False

    async def drive(self, places: int) -> None:
        """Fill so many places with workers, until every unit is settled."""
        waiting = {asyncio.create_task(self._fill(place)) for place in range(places)}
        while waiting and not self._over:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()

    async def _fill(self, place: int) -> None:
        """One place, where a worker that is lost is followed by another."""
        while True:
            unit = None
            try:
                worker = self._worker.remote(*self.arguments)
                await self._open(worker)
                while (unit := await self._next(place)) is not None:
                    self.measured += await self._answer(worker.measure.remote(unit.names[0]))
                    self._settle(unit)
                return
            except self._errors.RayTaskError:
                raise
            except self._errors.RayError as error:
                self._lose(place, unit, error)

    async def _open(self, worker: Any) -> None:
        """The run is made here and joined by the workers, so that all of them see the same one."""
        model = await self._answer(worker.load.remote())
        run = create_run(self.arguments[-1].out, model=model, version=version("headcount"))
        units = await self._answer(worker.join.remote())
        if not hasattr(self, "schedule"):
            self.run, self.schedule = run, Schedule(units, run)
            self.progress.expect(sum(unit.steps for unit in units))

    async def _answer(self, asked: Awaitable[Any]) -> Any:
        """What a worker answers; bad input is said as if it had been found here."""
        try:
            return await asked
        except self._errors.RayTaskError as error:
            if isinstance(error.cause, InputError):
                raise error.cause from None
            raise

    async def _next(self, place: int) -> Unit | None:
        """The next unit for a worker, as soon as there is one; None when all are taken."""
        while self.schedule.left:
            if (unit := self.schedule.take(place)) is not None:
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

    def _lose(self, place: int, unit: Unit | None, error: Exception) -> None:
        """A worker died: what it was at is done again by another, unless that has cost too many."""
        what = "opening the model" if unit is None else unit.title
        key = place if unit is None else unit.names[0]
        self._lost[key] += 1
        if self._lost[key] == TRIES:
            raise FailedError(f"{TRIES} workers were lost at {what}; what is finished is kept. Ray says: {error}")
        say(f"a worker was lost at {what}: another one begins that again")
        if unit is not None:
            self.schedule.put_back(unit)
            self._changed.set()
