"""The doctor: it finds problems, and says how to solve them."""

import json

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


@pytest.mark.parametrize("hiding", ["headcount", "headcount.py"])
def test_a_folder_or_file_here_that_hides_the_package_is_found(capsys, tmp_path, monkeypatch, hiding):
    (tmp_path / hiding).mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main(["doctor"])
    assert stop.value.code == 1
    assert f"FAIL package headcount: {tmp_path / hiding} hides it" in capsys.readouterr().out


def test_another_package_of_our_name_is_found(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere" / "headcount").mkdir(parents=True)
    (tmp_path / "elsewhere" / "headcount" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path / "elsewhere")
    finding = doctor.check_package()
    assert not finding.ok
    assert str(tmp_path / "elsewhere" / "headcount") in finding.result


def test_our_package_that_is_not_on_the_path_is_found(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [str(tmp_path)])
    finding = doctor.check_package()
    assert not finding.ok
    assert "found at None" in finding.result


def test_another_distribution_that_installs_our_name_is_found(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    both = {"headcount": ["headcount", "otherware"]}
    monkeypatch.setattr(doctor.importlib.metadata, "packages_distributions", lambda: both)
    assert "otherware installs a package of this name too" in doctor.check_package().result


def test_a_room_that_is_not_there_is_found(tmp_path, monkeypatch):
    """Such as a link that became a text file in an archive."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(doctor, "ROOMS", (*headcount.ROOMS, "attic"))
    finding = doctor.check_package()
    assert not finding.ok
    assert "lacks attic" in finding.result


def test_a_missing_package_is_found():
    assert not doctor.check_dependency("no-such-package").ok


def test_one_name_gives_everything():
    for name in ("load_model", "masked", "prefix_matching", "score_heads", "HeadScores", "open_run", "InputError"):
        assert getattr(headcount, name) is not None
        assert name in dir(headcount)
    assert headcount.viz.heads is not None
    with pytest.raises(AttributeError, match="headcount has no 'nonsense'"):
        headcount.nonsense  # noqa: B018
