"""Run one small study after another in one process, and print the open files and the memory after each.

PYTHONPATH=tests python tests/support/looping.py --minutes 120

Each study has a thread of its own: until its thread ends, tokenizers keeps the words that every tokenizer has met,
about 0.05 MB for each model that these studies load.
"""

import argparse
import os
import re
import shutil
import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import chdir, redirect_stderr, redirect_stdout
from itertools import count, islice, takewhile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import torch
from support.headcount_runs import SMALL_STUDY

from headcount.cli.app import main

STUDIES_PER_LINE = 100


class Usage(NamedTuple):
    """The resources of the process after a study; memory without pages of files, which the system frees at will."""

    files: int
    megabytes: float


def studies(folder: Path) -> Iterator[Usage]:
    """Yield the usage after one study after another, each in a new run directory that is removed afterwards."""
    (folder / "study.toml").write_text(SMALL_STUDY)
    for number in count():
        with ThreadPoolExecutor(1) as thread:
            thread.submit(_study_and_report, folder, number).result()
        shutil.rmtree(folder / f"run{number}")
        anonymous = re.search(r"RssAnon:\s*(\d+) kB", Path("/proc/self/status").read_text())
        yield Usage(len(os.listdir("/proc/self/fd")), int(anonymous[1]) / 1e3)


def _study_and_report(folder: Path, number: int) -> None:
    torch.set_num_threads(1)
    with chdir(folder), (folder / "output").open("w") as output, redirect_stdout(output), redirect_stderr(output):
        main(["study", "study.toml", "--out", f"run{number}"])
        main(["report", f"run{number}", "--output", "report.html"])


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=120)
    return parser.parse_args()


if __name__ == "__main__":
    began = time.monotonic()
    end = began + parsed().minutes * 60
    with TemporaryDirectory() as folder:
        timely = takewhile(lambda _: time.monotonic() < end, studies(Path(folder)))
        done = 0
        while usages := list(islice(timely, STUDIES_PER_LINE)):
            done += len(usages)
            files, memory = {usage.files for usage in usages}, [usage.megabytes for usage in usages]
            print(
                f"{(time.monotonic() - began) / 60:.0f} min, {done} studies: {files} open files, "
                f"{statistics.median(memory):.0f} MB, at most {max(memory):.0f} MB",
                flush=True,
            )
