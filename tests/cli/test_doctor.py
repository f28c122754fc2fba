"""The doctor: what is wrong is found, and said with what mends it."""

import json
from importlib.machinery import ModuleSpec

import pytest

import headcount
from headcount.cli import doctor
from headcount.cli.app import main


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*arguments, **options):
        raise OSError("no network in tests")

    monkeypatch.setattr(doctor, "urlopen", refuse)


def test_a_sound_installation_is_all_right(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    main(["doctor", "--json", "--model", "tiny-opt"])
    found = {finding["what"]: finding for finding in json.loads(capsys.readouterr().out)}
    assert all(finding["ok"] for finding in found.values())
    assert "does not answer (no network in tests)" in found["Hugging Face Hub"]["result"]
    assert "hooks show what they should" in found["model tiny-opt"]["result"]


def test_a_folder_here_that_hides_one_of_ours_is_found(capsys, tmp_path, monkeypatch):
    (tmp_path / "results").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main(["doctor"])
    assert stop.value.code == 1
    assert f"FAIL package results: {tmp_path / 'results'} hides it" in capsys.readouterr().out


def test_another_package_of_our_name_is_found(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    other = ModuleSpec("viz", None, origin="/elsewhere/viz/__init__.py")
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: other)
    finding = doctor._room("viz")
    assert not finding.ok
    assert "/elsewhere/viz" in finding.result


def test_another_distribution_that_installs_our_name_is_found(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    both = {"tracing": ["headcount", "otherware"]}
    monkeypatch.setattr(doctor.importlib.metadata, "packages_distributions", lambda: both)
    assert "otherware installs a package of this name too" in doctor._room("tracing").result


def test_a_missing_package_is_found():
    assert not doctor._package("no-such-package").ok


def test_one_name_gives_everything():
    for name in ("load_model", "masked", "prefix_matching", "score_heads", "HeadScores", "open_run", "InputError"):
        assert getattr(headcount, name) is not None
        assert name in dir(headcount)
    assert headcount.viz.heads is not None
    with pytest.raises(AttributeError, match="headcount has no 'nonsense'"):
        headcount.nonsense  # noqa: B018
