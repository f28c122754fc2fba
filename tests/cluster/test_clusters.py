"""A study that several processes measure ends in what one measures, whatever is killed, full or read-only on the way.

The disks are tmpfs in a mount namespace of their own, which root has, and others where user namespaces are allowed.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.forked import finish, run_here, start
from support.headcount_runs import SMALL_STUDY, contents_of, run

from headcount.results import open_run


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("clusters")
    (path / "study.toml").write_text(SMALL_STUDY)
    return path


@pytest.fixture(scope="module")
def alone(folder):
    """The results of one process, on one thread, as each of several has."""
    run_here(folder, "study", "study.toml", "--out", "alone")
    return contents_of(folder / "alone")


def measuring(folder):
    """Yield the process numbers of Ray's workers that are measuring a unit of this folder's study."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            title, place = (process / "cmdline").read_bytes(), os.readlink(process / "cwd")
        except OSError:  # it has ended
            continue
        if title.startswith(b"ray::Worker.measure") and place == str(folder):
            yield int(process.name)


def wait_for(condition, seconds=600):  # far more than a quiet machine needs, for busy ones
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.01)
    raise TimeoutError(condition)


def test_on_a_cluster_a_killed_driver_and_a_killed_worker_change_no_result(folder, alone):
    command = [sys.executable, "-m", "headcount", "study", "study.toml", "--out", "ray", "--ray", "local", "--json"]
    driver = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for((folder / "ray" / "importance" / "heads").exists)
    wait_for(lambda: next(measuring(folder), None))
    driver.kill()
    driver.wait()
    wait_for(lambda: not list(measuring(folder)))
    finished = written(folder / "ray")

    again = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    os.kill(wait_for(lambda: next(measuring(folder), None)), signal.SIGKILL)
    out, err = again.communicate(timeout=240)
    assert again.returncode == 0, err
    assert "the cluster holds the model" in err
    assert "headcount: a worker was lost at " in err
    assert written(folder / "ray").items() >= finished.items()
    summary = json.loads(out)
    assert 0 < len(summary["measured"]) < len(summary["results"]) == len(alone)
    assert contents_of(folder / "ray") == alone


def written(run):
    """Return the files of a run with the times of writing; not those of a write that was cut off."""
    return {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.suffix in (".json", ".safetensors")}


def test_shares_at_the_same_time_and_one_after_the_other_end_in_the_same_results(folder, alone, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    together = ("study", "study.toml", "--out", "together", "--shard")
    finish(folder, *[start(folder, *together, f"{number}/2") for number in (1, 2)])
    measured = []
    for number in (1, 2, 1):  # the first one's curves by mean importance need the second one's tasks
        status, out, err = run(capsys, "study", "study.toml", "--out", "in_turn", "--shard", f"{number}/2", "--json")
        assert status == 0, err
        assert ("units wait for results that other shares have yet to measure" in err) == (not measured)
        measured += json.loads(out)["measured"]
    assert [name for name in set(measured) if measured.count(name) > 1] == ["analyses/claims"]
    assert set(open_run("in_turn")) == set(open_run("alone"))
    assert contents_of(folder / "in_turn") == alone
    run(capsys, "study", "study.toml", "--out", "together")
    assert contents_of(folder / "together") == alone


ON_A_SMALL_DISK = """
import json, subprocess, sys
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from headcount.cli.app import main

def mount(options):
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", "disk"], check=True)

def study(*options):
    messages = StringIO()
    try:
        with redirect_stderr(messages), redirect_stdout(StringIO()):
            main(["study", "study.toml", "--out", "disk", *options])
        status = 0
    except SystemExit as stop:
        status = stop.code
    files = {str(path): path.stat().st_mtime_ns for path in Path("disk").rglob("*") if path.is_file()}
    return {"status": status, "messages": messages.getvalue(), "files": files}

ways = {"plain": (), "share": ("--shard", "1/1"), "ray": ("--ray", "local")}
found = {}
mount("ro,size=100k")
found["read-only, new"] = {way: study(*options) for way, options in ways.items()}
mount("remount,rw,size=100k")
found["full"] = {way: study(*options) for way, options in ways.items()}
mount("remount,ro")
found["read-only"] = {way: study(*options) for way, options in ways.items()}
mount("remount,rw,size=10m")
found["enough"] = {"plain": study()}
subprocess.run(["cp", "-r", "disk", "copy"], check=True)
print(json.dumps(found))
"""


def test_a_full_disk_and_a_read_only_one_end_in_one_line_and_the_same_command_goes_on(folder, alone):
    (folder / "disk").mkdir()
    alone_there = ["unshare", "--mount", *(["--map-root-user"] if os.geteuid() else [])]
    done = subprocess.run(
        [*alone_there, sys.executable, "-c", ON_A_SMALL_DISK], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    read_only = "disk: expected a folder that can be written, got a read-only one; make it writable or choose another"
    full = "No space left on device; free some space and give the same command again: finished results stay"
    for disk, line in {"read-only, new": read_only, "full": full, "read-only": read_only}.items():
        for way, ended in found[disk].items():
            assert ended["status"] == 2, (disk, way)
            messages = ended["messages"].splitlines()
            if (disk, way) == ("full", "ray"):  # a folder that cannot be written is refused before there is a cluster
                assert "the cluster holds the model" in messages.pop(0)
            assert len(messages) == 1, (disk, way, messages)
            assert line in messages[0], (disk, way)
    finished = found["full"]["plain"]["files"]
    assert 5 < len(finished) < len(alone)
    assert found["read-only"]["ray"]["files"].items() >= finished.items()
    assert found["enough"]["plain"]["status"] == 0
    assert found["enough"]["plain"]["files"].items() >= finished.items()
    assert contents_of(folder / "copy") == alone
