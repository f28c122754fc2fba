"""What gets installed is what is there."""

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (made,) = folder.glob("*.whl")
    with zipfile.ZipFile(made) as archive:
        return archive.namelist()


def test_the_wheel_holds_every_package_of_the_list_and_nothing_else(wheel):
    folders = {name.split("/")[0] for name in wheel if "dist-info" not in name}
    listed = set(PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"])
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert folders == listed == packages


def test_the_wheel_holds_every_file_of_the_packages(wheel):
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    packages = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    expected = {name for name in tracked.splitlines() if name.split("/")[0] in packages}
    assert expected <= set(wheel)
    assert {f"{package}/py.typed" for package in packages} <= set(wheel)
    assert "tracing/tiny_opt/model.safetensors" in wheel


def test_the_linters_see_every_package():
    packages = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert PROJECT["tool"]["mypy"]["packages"] == packages
    assert set(PROJECT["tool"]["importlinter"]["root_packages"]) == set(packages)


def test_no_version_with_a_known_hole_is_allowed():
    """The bounds that SECURITY.md gives reasons for are those that are installed by."""
    told = dict(
        re.findall(r"^\| (\S+)(?: \(extra\))? \| ([\d.]+) \|", (ROOT / "SECURITY.md").read_text(), re.MULTILINE)
    )
    extras = PROJECT["project"]["optional-dependencies"].values()
    asked = [one for some in (PROJECT["project"]["dependencies"], *extras) for one in some]
    bounds = {re.split("[<>=]", one)[0]: re.split("[,<]", one.partition(">=")[2])[0] for one in asked}
    assert len(told) >= 5
    assert {name: bounds[name] for name in told} == told
