"""The commands on a model that runs on a server: the same results in the run directory, and no key in any file."""

import json

import pytest
from support.headcount_runs import run
from support.standing_server import Standing

from headcount.results import open_run
from headcount.tracing.sources.names import TINY_OPT

KEY = "a-key-nobody-may-see"


@pytest.fixture(scope="module")
def standing():
    server = Standing(TINY_OPT)
    yield server
    server.process.kill()


@pytest.fixture
def config(tmp_path):
    text = (
        "model = 'tiny-opt'\nsequences = 2\nexamples = 4\nhead_percents = [50]\nffn_percents = [50]\n"
        "[[tasks]]\nnames = ['key_value', 'plural']\nlimit = 6\nshots = [0, 1]\n"
    )
    (tmp_path / "study.toml").write_text(text)
    return tmp_path / "study.toml"


def test_a_study_on_a_server_ends_in_the_same_results(standing, config, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("NDIF_API_KEY", KEY)
    for name, more in (("here", ("--model", "tiny-opt")), ("there", ("--remote", standing.host))):
        status, _, err = run(capsys, "study", config, "--out", tmp_path / name, *more)
        assert status == 0, err
        assert KEY not in err
    here, there = (open_run(tmp_path / name) for name in ("here", "there"))
    assert set(there) == {name for name in here if not name.startswith("control/")}
    for name in there:
        if hasattr(here[name], "values") and not callable(here[name].values):
            assert (here[name].values - there[name].values).abs().max() < 1e-5, name
    curve = "pruning/heads/key_value.1shot.own"
    assert (here[curve].gold_log_p - there[curve].gold_log_p).abs().max() < 1e-4
    assert not any(KEY.encode() in path.read_bytes() for path in (tmp_path / "there").rglob("*") if path.is_file())
    assert json.loads((tmp_path / "there" / ".jobs").read_text()) == {}
    page = tmp_path / "report.html"
    assert run(capsys, "report", tmp_path / "there", "--output", page)[0] == 0
    assert KEY not in page.read_text()


def test_a_server_that_refuses_ends_with_status_1_and_one_line(standing, tmp_path, capsys):
    standing.goes_wrong({"path": "/request", "kind": "status", "status": 401})
    command = ("induction", "--model", "tiny-opt", "--sequences", 1, "--remote", standing.host)
    status, _, err = run(capsys, *command, "--out", tmp_path / "run")
    assert (status, err.count("\n")) == (1, 1)
    assert "set the variable NDIF_API_KEY" in err


def test_the_doctor_says_what_a_server_runs_and_not_the_key(standing, capsys, monkeypatch):
    monkeypatch.setenv("NDIF_HOST", standing.host)
    monkeypatch.setenv("NDIF_API_KEY", KEY)
    _, out, _ = run(capsys, "doctor")
    assert f"ok     server {standing.host}: runs facebook/opt-66b; a key is set" in out
    monkeypatch.setenv("NDIF_HOST", "http://127.0.0.1:9")
    _, out, err = run(capsys, "doctor")
    assert "does not say what it runs" in out
    assert KEY not in out + err
