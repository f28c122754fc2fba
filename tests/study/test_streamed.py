"""The commands on a model that is read block by block: the same results, and a killed study goes on where it was."""

import time

import pytest
import torch
from support.forked import start
from support.headcount_runs import run

from headcount.results import open_run
from headcount.results.internal import read_content

CONFIG = """
model = "tiny-opt"
sequences = 2
examples = 4
head_percents = [50]
ffn_percents = [50]
control = false

[[tasks]]
names = ["key_value", "plural"]
limit = 6
shots = [0, 1]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("streamed")
    (made / "study.toml").write_text(CONFIG)
    (made / "streamed.toml").write_text(f'stream = true\nmemory = "2GiB"\n{CONFIG}')
    return made


def test_a_streamed_study_that_is_killed_goes_on_and_ends_in_the_same_numbers(folder, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    status, _, err = run(capsys, "study", "study.toml", "--out", "plain")
    assert status == 0, err

    process = start(folder, "study", "streamed.toml", "--out", "streamed")
    deadline = time.monotonic() + 120
    waited_for = folder / "streamed" / "importance" / "heads" / "plural.0shot.safetensors"
    while time.monotonic() < deadline and not waited_for.exists():
        time.sleep(0.05)
    process.kill()
    process.join()
    finished = {path: path.stat().st_mtime_ns for path in (folder / "streamed").rglob("*.safetensors")}
    assert waited_for in finished
    status, _, err = run(capsys, "study", "streamed.toml", "--out", "streamed")
    assert status == 0, err
    assert all(path.stat().st_mtime_ns == when for path, when in finished.items())
    assert set(open_run("plain")) == set(open_run("streamed"))
    for path in sorted((folder / "plain").rglob("*.safetensors")):
        ours, theirs = (
            read_content(folder / run / path.relative_to(folder / "plain")) for run in ("plain", "streamed")
        )
        torch.testing.assert_close(theirs.tensors, ours.tensors, rtol=1e-5, atol=1e-6)


def test_bad_input_is_one_line_that_helps(tmp_path, capsys):
    for options, message in (
        (("--memory", "1GiB"), "expected stream=True with it"),
        (("--stream", "--memory", "lots"), 'memory must be a number of bytes, or such as "4GiB"'),
        (("--stream", "--memory", "1MB"), "is too little"),
        (("--stream", "--remote", "ndif"), "remote and stream exclude each other"),
        (("--stream", "--device", "cuda"), "computes on the CPU"),
    ):
        status, out, err = run(capsys, "induction", "--model", "tiny-opt", "--out", tmp_path / "new", *options)
        assert (status, out, len(err.splitlines())) == (2, "", 1)
        assert message in err
