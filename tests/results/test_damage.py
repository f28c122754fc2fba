"""A bad day for a run directory: whatever happens to any of its files, no wrong number comes out and no code runs."""

import json
import os
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.synthetic_runs import add_importance, make_run

from headcount.results import InputError, Run, manifest, open_run
from headcount.results.storage import files

LITTLE = 16
"""Bits flipped in each file, spread over it."""


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run with files of every form."""
    return add_importance(make_run(tmp_path_factory.mktemp("runs") / "run", 5, 3), 5, 3)


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The same results of another model."""
    return add_importance(make_run(tmp_path_factory.mktemp("runs") / "other", 5, 3, "another model"), 5, 3)


class Trap:
    """Unpickling it makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Callable[..., None], tuple[str]]:
        return os.mkdir, (str(self.folder),)


def flipped(whole: bytes, bit: int) -> bytes:
    changed = bytearray(whole)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def contents(run: Run) -> dict[str, bytes]:
    """Every file of a run by its path."""
    return {
        path.relative_to(run.folder).as_posix(): path.read_bytes()
        for path in sorted(run.folder.rglob("*"))
        if path.is_file()
    }


def text_of(folder: Path, relative: str) -> str:
    """Everything that one file of an opened run holds; of the manifest, with one of the results."""
    run = open_run(folder)
    if relative != manifest.MANIFEST:
        return run[relative.rsplit(".", 1)[0]].to_content().header()
    return f"{run.manifest} {run['induction/copying'].to_content().header()}"


def refusal(read: Callable[[], object]) -> str | None:
    """The one line with which something is refused; None if it is read."""
    try:
        read()
    except InputError as error:
        return str(error)
    return None


def refused(run: Run, relative: str, damage: bytes) -> bool:
    """True if a file is refused, by name, once it is damaged; if it is read, it must hold what it held."""
    path = run.folder / relative
    whole, before = path.read_bytes(), text_of(run.folder, relative)
    path.write_bytes(damage)
    try:
        message = refusal(lambda: text_of(run.folder, relative))
        assert message is not None or text_of(run.folder, relative) == before, f"{relative} now holds something else"
    finally:
        path.write_bytes(whole)
    if message is None:
        return False
    assert str(path if relative != manifest.MANIFEST else run.folder) in message
    assert len(message.splitlines()) == 1
    return True


def test_every_file_damaged_in_every_way_is_refused_by_name(pristine: Run, foreign: Run, tmp_path: Path) -> None:
    other, trap = contents(foreign), tmp_path / "trap"
    neighbours = contents(pristine)
    for relative, whole in neighbours.items():
        damages = {
            "emptied": b"",
            "zeros": bytes(len(whole)),
            "longer": whole + b"\0",
            "half": whole[: len(whole) // 2],
            "one byte short": whole[:-2],  # the last one of JSON is a line break
            "another run's": other[relative],
            "pickle": pickle.dumps(Trap(trap)),
            "another file's": next(
                data for name, data in neighbours.items() if name != relative and name != "manifest.json"
            ),
        }
        for how, damage in damages.items():
            assert refused(pristine, relative, damage), (relative, how)
    assert not trap.exists()


def test_bits_flipped_anywhere_are_noticed(pristine: Run) -> None:
    for relative, whole in contents(pristine).items():
        noticed = [
            refused(pristine, relative, flipped(whole, len(whole) * 8 * place // LITTLE)) for place in range(LITTLE)
        ]
        assert sum(noticed) >= LITTLE - 2, relative  # a flip may fall on white space


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_any_bytes_in_place_of_a_result_are_refused(pristine: Run, data: st.DataObject) -> None:
    relative = data.draw(st.sampled_from(sorted(contents(pristine))))
    whole = (pristine.folder / relative).read_bytes()
    start, end = sorted(data.draw(st.tuples(*[st.integers(0, len(whole))] * 2)))
    damage = whole[:start] + data.draw(st.binary(max_size=40)) + whole[end:]
    assert refused(pristine, relative, damage) or damage.split() == whole.split()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


KINDS = ["HeadScores", "LayerScores", "RepeatLoss", "Accuracy", "PruningCurve", "PruningGrid", "Table", "Patterns"]
NAMES = ["values", "n", "columns", "rows", "loss", "provenance", "value", "percents"]


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kind=st.sampled_from(KINDS) | st.text(), fields=st.dictionaries(st.sampled_from(NAMES) | st.text(), JSON))
def test_a_result_of_any_fields_is_made_or_refused(tmp_path: Path, pristine: Run, kind: str, fields: dict) -> None:
    run = Run(tmp_path, pristine.manifest)
    try:
        files.write_content(tmp_path / "result.json", files.Content(kind, fields))
    except ValueError:  # NaN, which JSON lacks
        return
    with warnings.catch_warnings(action="ignore"):  # it does not state its run
        message = refusal(lambda: run["result"].to_content().header())
    assert message is None or "result.json" in message


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(model=JSON, more=st.dictionaries(st.text(), JSON, max_size=3))
def test_a_manifest_of_anything_is_read_or_refused(tmp_path: Path, model: object, more: dict) -> None:
    content = more | {"format": "headcount", "schema": 1, "model": model}
    (tmp_path / "manifest.json").write_text(json.dumps(content))
    message = refusal(lambda: open_run(tmp_path))
    assert message is None or "manifest.json" in message
    assert message is not None or isinstance(open_run(tmp_path).manifest["model"]["name"], str)
