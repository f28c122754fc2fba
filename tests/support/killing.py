"""Kill a study with SIGKILL at random moments, resume it each time, and compare its results with an undisturbed one's.

    PYTHONPATH=tests python tests/support/killing.py --kills 100
    PYTHONPATH=tests python tests/support/killing.py --kills 100 --preset quick

Each process is forked from one that has run the study before, so that kills fall into it and not into imports.
"""

import argparse
import json
import random
import time
from importlib.resources import files
from multiprocessing.process import BaseProcess
from pathlib import Path
from tempfile import TemporaryDirectory

from support.forked import finish, run_here, start
from support.headcount_runs import SMALL_STUDY, contents_of

from headcount.results import open_run
from headcount.results.storage.atomic import TEMPORARY
from headcount.study import PRESETS


def started(folder: Path, out: str, processes: int) -> list[BaseProcess]:
    """Start some processes, each with the same study in the same folder."""
    return [start(folder, "study", "study.toml", "--out", out) for _ in range(processes)]


def killed_and_resumed(
    folder: Path, kills: int, seed: int, processes: int = 1, study: str = SMALL_STUDY
) -> dict[str, float]:
    """Run studies until there were enough kills; each study that ends must equal an undisturbed one, apart from times.

    Args:
        folder: An empty folder for all of it.
        kills: The number of kills.
        seed: Seed of the moments, which lie anywhere in the time that an undisturbed study takes.
        processes: The number of processes with the same study in the same folder at once; all are killed together.
        study: The configuration.

    Returns:
        The number of kills, of studies that ended, and of cut-off writes after kills; the seconds of one undisturbed
        study.

    Raises:
        AssertionError: A study ended in other results, failed, or lost a file that it had finished.
    """
    (folder / "study.toml").write_text(study)
    run_here(folder, "study", "study.toml", "--out", "alone")
    began = time.monotonic()
    finish(folder, *started(folder, "warm", 1))
    seconds = time.monotonic() - began
    alone, moments, done = contents_of(folder / "alone"), random.Random(seed), 0
    ended = torn = 0
    while done < kills:
        out = f"run{ended}"
        finished: dict[Path, int] = {}
        while True:
            running = started(folder, out, processes)
            running[0].join(moments.uniform(0, seconds))
            if running[0].exitcode is not None:
                break
            for process in running:
                process.kill()
                process.join()
            done += 1
            torn += len(list((folder / out).rglob(f".*{TEMPORARY}")))
            now = written(folder / out)
            lost = {path for path in finished if now.get(path) != finished[path]}
            assert not lost, f"lost or written again: {sorted(lost)}"
            finished = {path: at for path, at in now.items() if processes == 1}
            if (folder / out / "manifest.json").exists():
                assert len(list(open_run(folder / out).values())) <= len(alone)  # all of them can be read
        finish(folder, *running)
        assert contents_of(folder / out) == alone, f"{out} differs from the undisturbed study"
        ended += 1
    return {"kills": done, "studies": ended, "torn": torn, "seconds": round(seconds, 1)}


def written(run: Path) -> dict[Path, int]:
    """Return the finished files of a run, with the times of writing."""
    return {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.suffix in (".json", ".safetensors")}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--preset", choices=PRESETS, help="of tiny-opt, in place of a small study")
    options = parser.parse_args()
    study = SMALL_STUDY
    if options.preset:
        study = 'model = "tiny-opt"\n' + files("headcount.study").joinpath(f"presets/{options.preset}.toml").read_text()
    with TemporaryDirectory() as folder:
        print(json.dumps(killed_and_resumed(Path(folder), options.kills, options.seed, options.processes, study)))
