"""What only Unix has is not needed to measure, to write and to look at an installation: it is patched away here."""

import os
import sys
from pathlib import Path
from typing import Any

import pytest
from support.headcount_runs import run

from headcount.results import open_run
from headcount.tracing.streaming.memory import as_bytes, held_memory


@pytest.fixture
def without_unix(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = os.open

    def no_folders(path: Any, *arguments: Any, **options: Any) -> int:
        if os.path.isdir(path):
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *arguments, **options)

    monkeypatch.setattr(os, "open", no_folders)
    for name in ("uname", "sysconf", "getuid", "getloadavg", "O_DIRECTORY", "O_DIRECT", "sched_getaffinity"):
        monkeypatch.delattr(os, name, raising=False)
    for name in ("resource", "fcntl", "pwd", "termios"):
        monkeypatch.setitem(sys.modules, name, None)
    is_file = Path.exists
    monkeypatch.setattr(Path, "exists", lambda path: not str(path).startswith("/proc") and is_file(path))


@pytest.mark.usefixtures("without_unix")
def test_a_command_measures_and_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err = run(
        capsys, "induction", "--model", "tiny-opt", "--sequences", 1, "--no-control", "--out", tmp_path / "run"
    )
    assert status == 0, err
    assert open_run(tmp_path / "run")["induction/copying"].n == 1
    assert run(capsys, "report", tmp_path / "run", "--output", tmp_path / "report.html")[0] == 0


@pytest.mark.usefixtures("without_unix")
def test_doctor_and_memory_need_nothing_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "doctor")[0] == 0
    assert as_bytes(None) > 1 << 30
    assert held_memory() > 1 << 20
