"""Commands in processes of their own, forked from the test's: a new process takes seconds to import the package.

Run a command of the kind here first: what it imports at its first use is then there for those that are forked.
"""

import multiprocessing
from contextlib import chdir, redirect_stderr, redirect_stdout
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch

from headcount.cli.app import main

OUTPUT = "output"
"""The file in a command's folder to which it writes its output and its messages."""

SECONDS = 600  # far more than any command here takes on a quiet machine, for busy ones


def run_here(folder: Path, *arguments: str) -> None:
    """Run a command in a folder, in this process."""
    torch.set_num_threads(1)  # more of them change the last digits
    with chdir(folder), (folder / OUTPUT).open("a") as output, redirect_stdout(output), redirect_stderr(output):
        main(list(arguments))


def start(folder: Path, *arguments: str) -> BaseProcess:
    """Start a command in a folder, in a process of its own."""
    process = multiprocessing.get_context("fork").Process(target=run_here, args=(folder, *arguments))
    process.start()
    return process


def finish(folder: Path, *processes: BaseProcess) -> None:
    """Wait for commands, each of which must end with exit status 0."""
    for process in processes:
        process.join(SECONDS)
        assert process.exitcode == 0, (folder / OUTPUT).read_text()[-2000:]
