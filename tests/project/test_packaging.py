"""The files around the package: versions and dependencies agree, workflows call what is there."""

import json
import re
import stat
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
RECIPE = (ROOT / "conda" / "recipe.yaml").read_text(encoding="utf-8")
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def test_one_version_everywhere():
    version = PROJECT["version"]
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))["version"] == version
    assert re.search(r'version: "([\d.]+)"', RECIPE)[1] == version
    released = re.findall(r"^## \[([\d.]+)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert version == (released[0] if released else "0.1.0")


def test_the_conda_recipe_has_the_dependencies_of_the_package():
    run = yaml.safe_load(RECIPE.replace("${{ version }}", "x"))["requirements"]["run"]
    renamed = {"pytorch": "torch"}
    listed = {renamed.get(name, name): bounds for name, _, bounds in (line.partition(" ") for line in run)}
    assert listed.pop("python") == PROJECT["requires-python"]
    pairs = (re.fullmatch(r"([\w-]+)(.*)", line).groups() for line in PROJECT["dependencies"])
    assert listed == dict(pairs)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_has_jobs_whose_scripts_are_there(path):
    workflow = yaml.safe_load(path.read_text(encoding="utf-8"))
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    assert steps
    commands = [word for step in steps for word in str(step.get("run", "")).split()]
    for script in [word for word in commands if word.startswith(".ci/")]:
        assert (ROOT / script).stat().st_mode & stat.S_IXUSR
    for job in workflow["jobs"].values():
        needs = job.get("needs", [])
        assert {needs} <= workflow["jobs"].keys() if isinstance(needs, str) else set(needs) <= workflow["jobs"].keys()


def test_the_container_and_the_makefile_name_the_same_targets():
    container = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text(encoding="utf-8"))
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = [word for word in container["postCreateCommand"].split() if word != "make"]
    assert targets
    assert all(f"\n{target}:" in makefile for target in targets)
