"""Run directories: made once, reopened for the same model, refused for everything else."""

import json
import os
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import pytest

from headcount.results import HeadScores, InputError, LayerScores, RepeatLoss, Run, check_folder, create_run, open_run
from headcount.results.storage import files

MODEL = {"name": "tiny", "revision": "abc", "fingerprint": "f00"}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    run = create_run(tmp_path / "run", model=MODEL, version="0.1.0")
    run.save("induction/copying", HeadScores([[0.5]], n=3))
    run.save("ffn/piqa.5shot", LayerScores([0.25]))
    run.save("induction/repeat_loss", RepeatLoss([2, 1], None, 3, -1.0, 0.1))
    return run


def test_a_run_is_a_mapping_of_what_was_saved(run: Run) -> None:
    opened = open_run(str(run.folder))
    assert isinstance(opened, Mapping)
    assert opened.names == ("ffn/piqa.5shot", "induction/copying", "induction/repeat_loss")
    assert list(opened) == list(opened.names)
    assert {name: type(result) for name, result in opened.items()} == {
        "ffn/piqa.5shot": LayerScores,
        "induction/copying": HeadScores,
        "induction/repeat_loss": RepeatLoss,
    }
    assert opened["induction/copying"].n == 3
    assert opened.folder == run.folder
    assert repr(opened).endswith("3 results of tiny (revision abc, fingerprint f00))")


def test_saving_says_where_and_replaces(run: Run) -> None:
    path = run.save("induction/copying", HeadScores([[0.75]]))
    assert path == run.folder / "induction" / "copying.safetensors"
    assert run["induction/copying"].values.item() == 0.75
    assert run.save("ffn/piqa.5shot", LayerScores([1])).name == "piqa.5shot.safetensors"


def test_the_manifest_says_what_was_measured_and_when(run: Run) -> None:
    manifest = json.loads((run.folder / "manifest.json").read_text())
    assert manifest.pop("sha256") == files.seal(manifest)
    assert manifest == run.manifest == open_run(run.folder).manifest
    assert datetime.fromisoformat(manifest.pop("created")).utcoffset().total_seconds() == 0
    assert manifest == {"format": "headcount", "schema": 1, "headcount": "0.1.0", "model": MODEL}


def test_results_of_another_process_are_seen(run: Run) -> None:
    other = open_run(run.folder)
    run.save("control/copying", HeadScores([[0.1]]))
    assert "control/copying" in other


def test_a_missing_result_is_a_key_error_with_what_there_is(run: Run) -> None:
    with pytest.raises(
        KeyError, match=r"no result 'induction/nothing' in .*, which has ffn/piqa.5shot, induction/copy"
    ):
        run["induction/nothing"]
    assert run.get("../run/induction/copying") is None
    assert "manifest" not in run
    assert 3 not in run


def test_other_files_are_no_results(run: Run) -> None:
    (run.folder / "report.html").write_text("")
    (run.folder / "induction" / ".copying.safetensors.00.tmp").write_text("")
    (run.folder / "induction" / "._copying.safetensors").write_text("")
    (run.folder / "copying.safetensors.damaged").write_text("")
    assert len(run) == 3


def test_a_run_that_goes_on_removes_what_a_killed_process_left_of_results_that_are_there(run: Run) -> None:
    left, unfinished = (
        run.folder / "induction" / ".copying.safetensors.0123abcd.tmp",
        run.folder / ".x.json.0123abcd.tmp",
    )
    left.write_text("")
    unfinished.write_text("")
    open_run(run.folder)
    assert left.exists()
    create_run(run.folder, model=MODEL)
    assert (left.exists(), unfinished.exists()) == (False, True)


@pytest.mark.parametrize(
    "name", ["", "/copying", "induction/", "../copying", "a/../b", "a//b", ".hidden", "manifest", "a b"]
)
def test_a_name_stays_inside_the_folder(run: Run, name: str) -> None:
    with pytest.raises(InputError, match=r"expected a result's name such as 'induction/copying', got"):
        run.save(name, HeadScores([[1]]))


def test_a_damaged_result_is_named_when_asked_for_and_can_be_set_aside(run: Run) -> None:
    path = run.folder / "induction" / "copying.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    assert "induction/copying" in run
    assert run["induction/repeat_loss"].n == 3
    with pytest.raises(InputError, match=r"induction/copying.safetensors is damaged"):
        run["induction/copying"]
    assert run.set_aside("induction/copying") == path.with_name("copying.safetensors.damaged")
    assert "induction/copying" not in run
    assert path.with_name("copying.safetensors.damaged").is_file()
    with pytest.raises(KeyError, match=r"no result 'induction/copying'"):
        run.set_aside("induction/copying")


def test_a_result_of_unknown_kind_is_refused(run: Run) -> None:
    files.write_content(run.folder / "later.json", files.Content("PruningTree", {}))
    with pytest.raises(InputError, match=r"expected one of HeadScores, LayerScores, .*, got PruningTree"):
        run["later"]


@pytest.mark.parametrize("missing", ["folder", "manifest"])
def test_a_folder_without_manifest_is_not_a_run(tmp_path: Path, missing: str) -> None:
    folder = tmp_path / "none" if missing == "folder" else tmp_path
    with pytest.raises(InputError, match=r"is not a run directory: expected manifest.json in it, found none"):
        open_run(folder)


DAMAGED = {
    "": "manifest.json is damaged .* it is empty",
    '{"format": "head': "it is not JSON",
    "[]": "expected a JSON object, got list",
    '{"format": "headcount", "schema": 1, "model": NaN}': "NaN is not a JSON number",
    '{"format": "headcount", "schema": 1, "model": {"name": 1e999}}': "1e999 is not a JSON number",
    '{"format": "headcount", "schema": 1}': "it names no model",
    '{"format": "headcount", "schema": 1, "model": {"revision": "abc"}}': "it names no model",
    '{"format": "headcount", "schema": 1, "model": {"name": "tiny", "sizes": [3]}}': "the sizes of its model",
    '{"format": "headcount", "schema": 1, "model": {"name": "tiny"}, "sha256": "0"}': "does not match its checksum",
}
FOREIGN = {
    '{"name": "package"}': "expected a file written by headcount",
    '{"format": "headcount", "schema": 2}': "written by a newer headcount: schema 2, this version reads up to 1",
}


@pytest.mark.parametrize(("text", "message"), (DAMAGED | FOREIGN).items())
def test_a_bad_manifest_is_named(run: Run, text: str, message: str) -> None:
    (run.folder / "manifest.json").write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        open_run(run.folder)
    assert str(run.folder / "manifest.json") in str(caught.value)


@pytest.mark.parametrize("text", DAMAGED)
def test_a_damaged_manifest_is_written_anew_where_every_result_is_the_models(run: Run, text: str) -> None:
    (run.folder / "manifest.json").write_text(text)
    with pytest.warns(UserWarning, match=r"set aside as manifest.json.damaged, and written anew"):
        again = create_run(run.folder, model=MODEL, version="0.1.0")
    assert (run.folder / "manifest.json.damaged").read_text() == text
    assert again.manifest["model"] == open_run(run.folder).manifest["model"] == MODEL
    assert again["induction/copying"].n == 3


@pytest.mark.parametrize(
    ("text", "model"),
    [(text, MODEL) for text in FOREIGN] + [("{", MODEL | {"fingerprint": "other"}), ("{", {"name": "other"})],
)
def test_a_manifest_is_not_replaced_by_guessing(run: Run, text: str, model: dict) -> None:
    (run.folder / "manifest.json").write_text(text)
    with pytest.raises(InputError, match=r"manifest.json"):
        create_run(run.folder, model=model)
    assert (run.folder / "manifest.json").read_text() == text


def test_a_damaged_manifest_stays_where_a_result_does_not_say_whose_it_is(run: Run) -> None:
    HeadScores([[0.5]]).save(run.folder / "control" / "copying.safetensors")
    (run.folder / "manifest.json").write_text("{")
    with pytest.raises(InputError, match=r"manifest.json is damaged"):
        create_run(run.folder, model=MODEL)


def test_a_manifest_without_a_checksum_is_that_of_an_early_run(run: Run) -> None:
    (run.folder / "manifest.json").write_text(json.dumps(run.manifest))
    assert open_run(run.folder).manifest == run.manifest


def test_a_file_of_another_run_is_noticed(run: Run, tmp_path: Path) -> None:
    other = create_run(tmp_path / "other", model={**MODEL, "fingerprint": "bad"})
    path = other.save("induction/copying", HeadScores([[0.9]]))
    path.replace(run.folder / "induction" / "copying.safetensors")
    with pytest.raises(
        InputError,
        match=r"copying.safetensors holds induction/copying of a run of tiny \(revision abc, fingerprint bad\), "
        r"expected induction/copying of tiny \(revision abc, fingerprint f00\); remove it and measure again",
    ):
        run["induction/copying"]


def test_a_file_of_another_name_is_noticed(run: Run) -> None:
    run.save("induction/copying_published", HeadScores([[0.9]])).replace(
        run.folder / "induction" / "copying.safetensors"
    )
    with pytest.raises(InputError, match=r"copying.safetensors holds induction/copying_published of a run of tiny"):
        run["induction/copying"]


def test_a_run_of_the_same_model_may_take_in_a_result(run: Run, tmp_path: Path) -> None:
    path = create_run(tmp_path / "other", model=MODEL).save("induction/copying", HeadScores([[0.9]]))
    path.replace(run.folder / "induction" / "copying.safetensors")
    assert run["induction/copying"].values.item() == pytest.approx(0.9)


def test_a_result_that_does_not_say_whose_it_is_is_read_with_a_warning(run: Run) -> None:
    HeadScores([[0.5]]).save(run.folder / "control" / "copying.safetensors")
    with pytest.warns(UserWarning, match=r"do not state their run"):
        assert run["control/copying"].values.item() == 0.5


def test_the_same_model_goes_on_in_the_same_folder(run: Run) -> None:
    again = create_run(run.folder, model={**MODEL, "layers": 2})
    assert again.manifest == run.manifest
    assert "induction/copying" in again


@pytest.mark.parametrize("key", ["name", "revision", "fingerprint"])
def test_another_models_run_is_refused_with_both_names(run: Run, key: str) -> None:
    other = {**MODEL, key: "other\nline"}
    before = (run.folder / "manifest.json").read_bytes()
    with pytest.raises(
        InputError, match=r"holds a run of tiny \(revision abc, .*other line.*choose another folder"
    ) as error:
        create_run(run.folder, model=other)
    assert "\n" not in str(error.value)
    assert (run.folder / "manifest.json").read_bytes() == before


def test_an_empty_folder_will_do_also_after_a_killed_attempt(tmp_path: Path) -> None:
    (tmp_path / ".manifest.json.1234.tmp").write_text("{")
    assert create_run(tmp_path, model=MODEL).names == ()


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(InputError, match=r"expected a run, or a new or empty folder, got one with other files in it"):
        create_run(tmp_path, model=MODEL)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file: expected a folder, got a file; choose another folder"):
        create_run(tmp_path / "file", model=MODEL)
    with pytest.raises(InputError, match=r"cannot write .*below/manifest.json: a file is where a folder must be"):
        create_run(tmp_path / "file" / "below", model=MODEL)


def test_a_place_that_cannot_be_written_is_refused() -> None:
    with pytest.raises(
        InputError, match=r"cannot write /proc/run/manifest.json: .*; choose a path that can be written"
    ):
        create_run("/proc/run", model=MODEL)


def test_a_read_only_run_is_refused_before_anything_is_measured(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(InputError, match=r"expected a folder that can be written, got a read-only one"):
        create_run(run.folder, model=MODEL)


def test_what_is_wrong_with_a_folder_is_said_before_a_model_is_loaded(run: Run, tmp_path: Path) -> None:
    other = tmp_path / "other"
    for good in (run.folder, tmp_path / "new", other):
        check_folder(good)
    assert not other.exists()
    other.mkdir()
    check_folder(other)
    (other / "thesis.tex").write_text("")
    with pytest.raises(InputError, match=r"expected a run, or a new or empty folder"):
        check_folder(other)
    with pytest.raises(InputError, match=r"expected a folder, got a file"):
        check_folder(other / "thesis.tex")


def test_a_model_that_json_cannot_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"model: expected what JSON can hold"):
        create_run(tmp_path / "run", model={"name": object()})
    assert not (tmp_path / "run").exists()
