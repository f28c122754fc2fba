"""The package that gets installed: its files, its dependencies, and its one import name."""

import ast
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LINKED = ("induction", "importance", "viz")  # folders of the checkout that are linked into headcount/
# Declared and never imported: each is used in another way.
NOT_IMPORTED = {
    "circuitsvis": "its script is read from the installed files",
    "transformer-lens": "its bridges are accepted by class name; tests compare hook names and activations with it",
}


def repository_files():
    """Files of the repository that git does not ignore, links left out."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    return sorted({name for name in names if (ROOT / name).is_file() and not (ROOT / name).is_symlink()})


def build(source, folder, *options):
    """Build a distribution of a source folder; return the files of its wheel."""
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), *options, str(source)]
    subprocess.run(command, check=True, capture_output=True)
    (path,) = folder.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        return sorted(archive.namelist())


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The files of a wheel built from the checkout."""
    return build(ROOT, tmp_path_factory.mktemp("wheel"), "--wheel")


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """A copy of the repository's files as an archive without links has them."""
    folder = tmp_path_factory.mktemp("archive") / "headcount"
    for name in repository_files():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, target)
    return folder


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """An empty folder into which the checkout was installed, without its dependencies."""
    folder = tmp_path_factory.mktemp("installed")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-compile"]
    subprocess.run([*command, "--target", str(folder), "."], cwd=ROOT, check=True, capture_output=True)
    return folder


def test_the_wheel_holds_the_files_of_the_rooms_and_nothing_else(wheel):
    rooms = ("headcount/", *(f"{room}/" for room in LINKED))
    files = [name for name in repository_files() if name.startswith(rooms)]
    expected = [name if name.startswith("headcount/") else f"headcount/{name}" for name in files]
    assert [name for name in wheel if ".dist-info/" not in name] == sorted(expected)
    assert {"headcount/py.typed", "headcount/tracing/tiny_opt/model.safetensors"} <= set(wheel)


def test_a_wheel_from_the_source_distribution_holds_the_same(wheel, tmp_path):
    assert build(ROOT, tmp_path) == wheel


def test_a_wheel_from_an_archive_without_links_holds_the_same(wheel, archive, tmp_path):
    assert build(archive, tmp_path, "--wheel") == wheel


def test_a_wheel_from_an_archive_whose_links_are_text_files_holds_the_same(wheel, archive, tmp_path):
    """On Windows, git writes a link as a file that holds the path of its target."""
    links = [archive / "headcount" / room for room in LINKED]
    for link in links:
        link.write_text(f"../{link.name}")
    try:
        assert build(archive, tmp_path, "--wheel") == wheel
    finally:
        for link in links:
            link.unlink()


def test_an_editable_installation_adds_one_path_file_and_its_metadata():
    distribution = importlib.metadata.distribution("headcount")
    added = {path.parts[0] for path in distribution.files if path.name != "headcount" or path.parts[0] != ".."}
    assert added == {"_headcount.pth", f"headcount-{distribution.version}.dist-info"}


def test_pip_install_adds_one_package_and_its_metadata(installed):
    assert {path.name for path in installed.iterdir()} == {
        "headcount",
        f"headcount-{PROJECT['project']['version']}.dist-info",
        "bin",  # the command, which an environment has among its programs
    }
    assert [path.name for path in (installed / "bin").iterdir()] == ["headcount"]


def test_files_of_the_working_directory_shadow_nothing(installed, tmp_path):
    for name in ("results.py", "viz.py", "tracing/__init__.py", "induction.py", "stats.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("raise RuntimeError('a file of the working directory was imported')")
    code = "import headcount as hc; hc.load_model('tiny-opt'); hc.viz.heads; print(hc.__file__)"
    code += "; import sys; assert 'pandas' not in sys.modules, 'imported before a table is made of it'"
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, cwd=tmp_path, env={"PYTHONPATH": str(installed)}, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert Path(result.stdout.strip()).is_relative_to(installed)


@pytest.mark.parametrize("room", LINKED)
def test_a_room_refuses_to_be_imported_by_its_folder(room):
    result = subprocess.run([sys.executable, "-c", f"import {room}"], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 1
    last = result.stderr.splitlines()[-1]
    assert last.startswith("ImportError: ")
    assert f"headcount.{room}" in last


def test_every_link_leads_to_its_room():
    for room in LINKED:
        assert (ROOT / "headcount" / room).resolve() == ROOT / room


def test_every_import_of_the_package_is_declared():
    project = PROJECT["project"]
    required = [*project["dependencies"], *project["optional-dependencies"]["ray"]]
    declared = {canonicalize_name(Requirement(line).name) for line in required}
    installed = importlib.metadata.packages_distributions()
    names = [name for module in third_party() for name in installed.get(module, [module])]
    imported = {canonicalize_name(name) for name in names}
    assert imported - declared == set()
    assert declared - imported == set(NOT_IMPORTED)


def third_party():
    """Top-level names of all modules that the package imports and that are neither its own nor Python's."""
    names = set()
    for path in (ROOT / name for name in repository_files() if name.endswith(".py")):
        if path.relative_to(ROOT).parts[0] in ("headcount", *LINKED):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Import):
                    names |= {alias.name.partition(".")[0] for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and node.level == 0:
                    names.add(node.module.partition(".")[0])
    return names - sys.stdlib_module_names - {"headcount"}


def test_no_version_with_a_known_vulnerability_is_allowed():
    """The lower bounds that SECURITY.md gives reasons for are those that are declared."""
    stated = dict(
        re.findall(r"^\| (\S+)(?: \(extra\))? \| ([\d.]+) \|", (ROOT / "SECURITY.md").read_text(), re.MULTILINE)
    )
    extras = PROJECT["project"]["optional-dependencies"].values()
    required = [line for lines in (PROJECT["project"]["dependencies"], *extras) for line in lines]
    bounds = {re.split("[<>=]", line)[0]: re.split("[,<]", line.partition(">=")[2])[0] for line in required}
    assert len(stated) >= 5
    assert {name: bounds[name] for name in stated} == stated


@pytest.mark.parametrize(("setting", "spin"), [({}, "20000"), ({"OMP_WAIT_POLICY": "active"}, "None")])
def test_threads_spin_for_a_short_time_unless_a_person_chose(setting, spin):
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("OMP", "GOMP", "KMP"))}
    code = "import headcount, os; print(os.environ.get('GOMP_SPINCOUNT'))"
    done = subprocess.run([sys.executable, "-c", code], env=environment | setting, capture_output=True, text=True)
    assert done.stdout.strip() == spin, done.stderr
