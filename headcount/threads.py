"""The number of torch's threads on cores that other work shares.

Threads wait for each other at the end of every operation. Where other work fills the cores, one of them is always kept
waiting, and few threads are quicker than one for each core.
"""

import os
import time
from typing import NamedTuple

_SETTINGS = {"OMP_NUM_THREADS", "MKL_NUM_THREADS"}


class CpuTimes(NamedTuple):
    """Seconds since some start, on the cores that this process may use."""

    wall: float
    busy: float
    """Seconds in which the cores worked, summed over the cores, whatever for."""
    this_process: float


def cpu_times() -> CpuTimes | None:
    """Return the seconds up to now; None where the system does not count them (it is not Linux)."""
    try:
        with open("/proc/stat", encoding="ascii") as counters:
            lines = [line.split() for line in counters if line.startswith("cpu")]
        cores = {f"cpu{core}" for core in os.sched_getaffinity(0)}
    except (OSError, AttributeError):
        return None
    # user, nice, system, idle, waiting for input and output, interrupts (two kinds), time of other virtual machines
    ticks = [[int(number) for number in line[1:9]] for line in lines if line[0] in cores]
    working = sum(sum(core) - core[3] - core[4] for core in ticks)
    usage = os.times()
    return CpuTimes(time.monotonic(), working / os.sysconf("SC_CLK_TCK"), usage.user + usage.system)


_AT_IMPORT = cpu_times()


def fair_threads(cores: int, before: CpuTimes, after: CpuTimes) -> int:
    """Return the number of threads to compute with on cores that other work shares.

    It is cores² / (cores + other work), rounded down: the cores that one thread for each core would get among as many
    others, in turns. Below half a core of other work, and after less than a second, it is all of them.
    """
    wall = after.wall - before.wall
    if wall < 1:
        return cores
    others = (after.busy - before.busy - (after.this_process - before.this_process)) / wall
    return cores if others < 0.5 else max(1, int(cores**2 / (cores + others)))


def fit_threads() -> None:
    """Lower the number of torch's threads if other work has filled the cores since headcount was imported.

    A person's choice (OMP_NUM_THREADS, MKL_NUM_THREADS) stands. Scores differ with the number of threads in their last
    digits, at most by 1e-5; their provenance says it.
    """
    import torch  # not at the top: headcount itself is imported before torch

    now = cpu_times()
    if _AT_IMPORT is None or now is None or _SETTINGS & os.environ.keys():
        return
    cores = len(os.sched_getaffinity(0))
    torch.set_num_threads(min(torch.get_num_threads(), fair_threads(cores, _AT_IMPORT, now)))
