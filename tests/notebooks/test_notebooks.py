"""The notebooks run as they are, on the default model, and are stored without outputs."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from support.standing_server import Standing

from headcount.tracing.sources.names import TINY_OPT

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
notebooks = pytest.mark.parametrize("path", NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])
SECONDS = 900  # for one cell, on a busy machine


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A kernel of the interpreter that runs the tests; its files stay in the test's folder."""
    spec = tmp_path / "jupyter" / "kernels" / "tests"
    spec.mkdir(parents=True)
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (spec / "kernel.json").write_text(json.dumps({"argv": argv, "display_name": "tests", "language": "python"}))
    for name in ("JUPYTER_PATH", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR"):
        monkeypatch.setenv(name, str(tmp_path / "jupyter"))
    return "tests"


@pytest.fixture(scope="module")
def server() -> Iterator[Standing]:
    """The stand-in for the server of the third notebook, with the small model that comes with the package."""
    standing = Standing(TINY_OPT)
    yield standing
    standing.process.kill()


@pytest.fixture(autouse=True)
def _variables(server: Standing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NDIF_HOST", server.host)
    monkeypatch.setenv("HEADCOUNT_MODEL", "tiny-opt")


@notebooks
def test_a_notebook_runs_and_leaves_nothing_behind(path: Path, kernel: str, tmp_path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    (folder := tmp_path / "work").mkdir()
    client = NotebookClient(notebook, timeout=SECONDS, kernel_name=kernel, resources={"metadata": {"path": folder}})
    client.execute()
    assert list(folder.iterdir()) == []
    figures = [output for cell in code(notebook) for output in cell.outputs if "plotly" in str(output.get("data"))]
    assert len(figures) >= 3


@notebooks
def test_a_notebook_is_stored_without_outputs_and_with_readable_changes(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    notebook = json.loads(text)
    assert text == json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"
    assert set(notebook["metadata"]) == {"kernelspec", "language_info"}
    for cell in notebook["cells"]:
        assert cell["metadata"] == {}
        assert isinstance(cell["source"], list)
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            assert cell["execution_count"] is None


@notebooks
def test_a_notebook_asks_a_question_and_states_its_limits(path: Path) -> None:
    cells = nbformat.read(path, as_version=4).cells
    assert cells[0].cell_type == cells[-1].cell_type == "markdown"
    assert cells[0].source.splitlines()[0].endswith("?")
    assert cells[-1].source.startswith("## What was not shown")
    words = sum(len(cell.source.split()) for cell in cells)
    assert words < 1500  # ten minutes


def code(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_there_are_notebooks() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["1_induction_heads", "2_what_a_task_needs", "3_on_a_server"]
