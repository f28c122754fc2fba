"""Files of results: the same back, whole or not at all, and a plain word about everything that is wrong with one."""

import json
import os
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from headcount.results import HeadScores, InductionScores, InputError, LayerScores, RepeatLoss, Table
from headcount.results.storage import files
from headcount.results.storage.atomic import write_whole

nan, inf = float("nan"), float("inf")


def full_scores(seed: int = 0) -> HeadScores:
    generator = torch.Generator().manual_seed(seed)
    return HeadScores(
        torch.rand(3, 4, generator=generator),
        variance=torch.rand(3, 4, generator=generator),
        n=7,
        folds=torch.rand(2, 3, 4, generator=generator),
        measure="copying",
        definition="head-output",
        extras={"bos_attention": torch.rand(3, 4, generator=generator), "self_attention": torch.ones(3, 4)},
        provenance={"model": "名前 </script>\n", "versions": {"torch": "2"}, "lengths": [25, 27], "none": None},
    )


def assert_same(left: HeadScores | LayerScores, right: HeadScores | LayerScores) -> None:
    assert type(left) is type(right)
    assert (left.n, left.measure, left.definition) == (right.n, right.measure, right.definition)
    assert left.provenance == right.provenance
    assert left.extras.keys() == right.extras.keys()
    for mine, other in [
        (left.values, right.values),
        (left.variance, right.variance),
        (left.folds, right.folds),
        *((left.extras[name], right.extras[name]) for name in left.extras),
    ]:
        assert (mine is None) == (other is None)
        if mine is not None:
            np.testing.assert_array_equal(mine, other)


@pytest.mark.parametrize(
    "scores",
    [full_scores(), HeadScores([[nan, inf], [-inf, -0.0]]), LayerScores([1, nan], extras={"depth": [0, 1]})],
    ids=["full", "not finite", "layers"],
)
def test_scores_come_back_as_they_went(tmp_path: Path, scores: HeadScores | LayerScores) -> None:
    scores.save(tmp_path / "new" / "folder" / "scores.safetensors")
    assert_same(type(scores).load(tmp_path / "new" / "folder" / "scores.safetensors"), scores)


@pytest.mark.parametrize("variance", [None, [0.5, nan]])
@pytest.mark.parametrize("late_minus_early", [-1.25, nan, inf])
def test_repeat_loss_comes_back_as_it_went(tmp_path: Path, variance: list | None, late_minus_early: float) -> None:
    loss = RepeatLoss([3.5, nan], variance, 4, late_minus_early, 0.25, {"seed": 1})
    loss.save(tmp_path / "loss.json")
    back = RepeatLoss.load(tmp_path / "loss.json")
    np.testing.assert_array_equal(back.loss, loss.loss)
    assert (back.variance is None) == (variance is None)
    if variance is not None:
        np.testing.assert_array_equal(back.variance, variance)
    assert (back.n, back.late_minus_early_stderr, back.provenance) == (4, 0.25, {"seed": 1})
    np.testing.assert_equal(back.late_minus_early, late_minus_early)
    json.loads((tmp_path / "loss.json").read_text(), parse_constant=pytest.fail)


def test_repeat_loss_refuses_what_does_not_fit() -> None:
    with pytest.raises(InputError, match=r"variance: expected shape \[repeat=2\], got \[3\]"):
        RepeatLoss([1, 2], [1, 2, 3], 1, 0, 0)
    with pytest.raises(InputError, match=r"loss: expected shape \[repeat\], got \[1, 2\]"):
        RepeatLoss([[1, 2]], None, 1, 0, 0)
    with pytest.raises(InputError, match=r"n: expected a whole number of at least 1, got -3"):
        RepeatLoss([1, 2], None, -3, 0, 0)


def test_repeat_loss_frame_counts_repeats_from_one() -> None:
    frame = RepeatLoss([5, 1], [4, 1], 4, -4, 0.1).to_frame()
    assert frame.to_dict("list") == {"repeat": [1, 2], "loss": [5, 1], "stderr": [1, 0.5], "n": [4, 4]}


def test_induction_scores_are_three_files(tmp_path: Path) -> None:
    scores = InductionScores(full_scores(1), full_scores(2), full_scores(3))
    scores.save(tmp_path / "induction")
    names = sorted(path.name for path in (tmp_path / "induction").iterdir())
    assert names == ["copying.safetensors", "copying_published.safetensors", "prefix_matching.safetensors"]
    back = InductionScores.load(tmp_path / "induction")
    assert_same(back.prefix_matching, scores.prefix_matching)
    assert_same(back.copying, scores.copying)
    assert_same(back.copying_published, scores.copying_published)


def test_induction_scores_are_of_one_shape() -> None:
    with pytest.raises(InputError, match=r"prefix_matching \[3, 4\], copying \[1, 1\], copying_published \[3, 4\]"):
        InductionScores(full_scores(), HeadScores([[1]]), full_scores())


def test_equal_content_gives_equal_bytes(tmp_path: Path) -> None:
    scores = full_scores()
    turned = HeadScores(
        scores.values,
        variance=scores.variance,
        n=scores.n,
        folds=scores.folds,
        measure=scores.measure,
        definition=scores.definition,
        extras=dict(reversed(scores.extras.items())),
        provenance=dict(reversed(scores.provenance.items())),
    )
    scores.save(tmp_path / "a")
    turned.save(tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    full_scores(1).save(tmp_path / "b")
    assert (tmp_path / "a").read_bytes() != (tmp_path / "b").read_bytes()


def test_the_header_is_one_json_text_in_the_metadata(tmp_path: Path) -> None:
    full_scores().save(tmp_path / "scores.safetensors")
    with safetensors.safe_open(tmp_path / "scores.safetensors", framework="pt") as file:
        metadata = file.metadata()
    header = json.loads(metadata.pop("headcount"))
    assert metadata == {}
    assert (header["format"], header["schema"], header["kind"]) == ("headcount", 1, "HeadScores")
    assert header["fields"]["n"] == 7


def write_with_header(path: Path, **changes: object) -> None:
    """A scores file whose header was tampered with, and its checksum put right."""
    header = json.loads(full_scores().to_content().header()) | changes
    header = {key: value for key, value in header.items() if value is not ...}
    safetensors.torch.save_file({"values": torch.zeros(3, 4)}, path, metadata={"headcount": json.dumps(header)})


def damage_cases(path: Path) -> dict[str, tuple[object, str]]:
    """Ways in which a file can be wrong: a function that makes it so, and the error."""
    return wrong_bytes(path) | wrong_headers(path) | wrong_contents(path)


def wrong_bytes(path: Path) -> dict[str, tuple[object, str]]:
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[-3] ^= 1
    return {
        "missing": (path.unlink, "expected a file, found nothing"),
        "folder": (lambda: (path.unlink(), path.mkdir()), "expected a file, found a folder"),
        "empty": (lambda: path.write_bytes(b""), "is damaged .* it is empty"),
        "truncated": (lambda: path.write_bytes(whole[:-1]), "not a whole safetensors file"),
        "header cut": (lambda: path.write_bytes(whole[:100]), "not a whole safetensors file"),
        "seven bytes": (lambda: path.write_bytes(whole[:7]), "not a whole safetensors file"),
        "longer": (lambda: path.write_bytes(whole + b"\0"), "not a whole safetensors file"),
        "zeros": (lambda: path.write_bytes(bytes(len(whole))), "not a whole safetensors file"),
        "flipped bit": (lambda: path.write_bytes(flipped), "does not match its checksum"),
        "pickle": (lambda: path.write_bytes(pickle.dumps({"values": [1]})), "not a whole safetensors file"),
        "text": (lambda: path.write_text("layer,head,value\n"), "not a whole safetensors file"),
        "broken json": (lambda: path.write_text('{"format": "headcount"'), "it is not JSON"),
        "json list": (lambda: path.write_text("[1]"), "not a whole safetensors file"),
        "foreign": (
            lambda: safetensors.torch.save_file({"values": torch.zeros(1, 1)}, path),
            "expected a file written by headcount, got one without its header",
        ),
        "foreign json": (lambda: path.write_text('{"format": "other"}'), "expected a file written by headcount"),
    }


def wrong_headers(path: Path) -> dict[str, tuple[object, str]]:
    return {
        "newer": (
            lambda: write_with_header(path, schema=7),
            "was written by a newer headcount: schema 7, this version reads up to 1; upgrade",
        ),
        "no schema": (lambda: write_with_header(path, schema=...), "its schema is None"),
        "true schema": (lambda: write_with_header(path, schema=True), "its schema is True"),
        "nan": (lambda: write_with_header(path, fields={"n": nan}), "NaN is not a JSON number"),
        "no kind": (lambda: write_with_header(path, kind=...), "its header is incomplete"),
        "no checksum": (lambda: write_with_header(path, sha256=...), "its header is incomplete"),
        "other fields": (lambda: write_with_header(path, fields=[1]), "its header is incomplete"),
        "edited": (lambda: write_with_header(path, fields={"n": 8}), "does not match its checksum"),
    }


def wrong_contents(path: Path) -> dict[str, tuple[object, str]]:
    return {
        "layers": (lambda: LayerScores([1, 2]).save(path), "expected HeadScores, got LayerScores; check the path"),
        "loss": (lambda: RepeatLoss([1], None, 1, 0, 0).save(path), "expected HeadScores, got RepeatLoss"),
        "shapes": (
            lambda: files.write_content(path, files.Content("HeadScores", {"n": 1}, {"values": torch.zeros(3)})),
            r"expected shape \[layer, head\], got \[3\]",
        ),
        "no values": (
            lambda: files.write_content(path, files.Content("HeadScores", {"n": 1}, {"variance": torch.zeros(3, 3)})),
            "missing 1 required positional argument: 'values'",
        ),
        "unknown field": (
            lambda: files.write_content(
                path, files.Content("HeadScores", {"colour": 1}, {"values": torch.zeros(3, 3)})
            ),
            "unexpected keyword argument 'colour'",
        ),
    }


CASES = [
    *(
        "missing",
        "folder",
        "empty",
        "truncated",
        "header cut",
        "seven bytes",
        "longer",
        "zeros",
        "flipped bit",
        "pickle",
    ),
    *("text", "broken json", "json list", "foreign", "foreign json", "newer", "no schema", "true schema", "nan"),
    *("no kind", "no checksum", "other fields", "edited", "layers", "loss", "shapes", "no values", "unknown field"),
]


@pytest.mark.parametrize("case", CASES)
def test_a_bad_file_is_named_in_one_line(tmp_path: Path, case: str) -> None:
    path = tmp_path / "copying.safetensors"
    full_scores().save(path)
    cases = damage_cases(path)
    assert list(cases) == CASES
    act, message = cases[case]
    act()
    with pytest.raises(InputError, match=message) as caught:
        HeadScores.load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_bad_repeat_loss_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "loss.json"
    RepeatLoss([1.5], None, 1, 0.0, 0.0).save(path)
    text = path.read_text()
    path.write_text(text.replace("1.5", "1.6"))
    with pytest.raises(InputError, match=r"does not match its checksum"):
        RepeatLoss.load(path)
    path.write_text(text.replace("1.5", "NaN"))
    with pytest.raises(InputError, match=r"NaN is not a JSON number"):
        RepeatLoss.load(path)
    files.write_content(path, files.Content("RepeatLoss", {"loss": [1.0]}))
    with pytest.raises(InputError, match=r"its parts do not fit"):
        RepeatLoss.load(path)


@settings(deadline=None)
@given(data=st.data())
def test_no_damage_goes_unnoticed(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = tmp_path_factory.mktemp("files") / "scores.safetensors"
    scores = full_scores()
    scores.save(path)
    whole = bytearray(path.read_bytes())
    position = data.draw(st.integers(0, len(whole) - 1))
    whole[position] ^= data.draw(st.integers(1, 255))
    path.write_bytes(whole)
    try:
        back = HeadScores.load(path)
    except InputError:
        return
    assert_same(back, scores)  # such as a space in the padding of the header


def test_an_unreadable_file_is_no_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "scores.safetensors"
    full_scores().save(path)
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(InputError, match=r"cannot read .*scores.safetensors: Permission denied; check its permissions"):
        HeadScores.load(path)


def refuse(*args: object, **kwargs: object) -> None:
    raise PermissionError(13, "Permission denied")


def test_a_file_in_the_way_is_bad_input(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(
        InputError, match=r"cannot write .*copying: a file is where a folder must be; choose another path"
    ):
        HeadScores([[1]]).save(tmp_path / "file" / "copying")
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match=r"cannot write .*folder: Is a directory"):
        HeadScores([[1]]).save(tmp_path / "folder")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


def test_only_a_file_is_replaced_and_a_link_is_followed(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match=r"cannot write .*pipe: expected a file or a new name, got something else"):
        HeadScores([[1]]).save(tmp_path / "pipe")
    assert (tmp_path / "pipe").is_fifo()
    for name in ("", "a\0b"):
        with pytest.raises(InputError, match=r"cannot write .*expected the name of a file"):
            HeadScores([[1]]).save(name)
    (tmp_path / "link").symlink_to("there")
    HeadScores([[1]]).save(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert HeadScores.load(tmp_path / "there").values.tolist() == [[1]]


def test_a_key_that_is_there_twice_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "twice.json"
    path.write_text('{"format": "headcount", "schema": 1, "kind": "Accuracy", "kind": "Table", "fields": {}}')
    with pytest.raises(InputError, match=r"twice.json is damaged.*the key 'kind' is there twice"):
        Table.load(path)


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failed_write_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    path = tmp_path / "scores.safetensors"
    full_scores(0).save(path)
    owner = os if step == "fsync" else Path
    monkeypatch.setattr(owner, step, refuse)
    with pytest.raises(InputError, match=r"Permission denied"):
        full_scores(1).save(path)
    monkeypatch.undo()
    assert_same(HeadScores.load(path), full_scores(0))
    assert list(tmp_path.iterdir()) == [path]


def test_an_interrupted_write_leaves_no_temporary_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        full_scores().save(tmp_path / "scores.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_writer_left_goes_with_the_next_write_of_the_same_file(tmp_path: Path) -> None:
    left, others = (
        tmp_path / ".scores.0123abcd.tmp",
        [".scores.json.0123abcd.tmp", ".scores.tmp", "scores.0123abcd.tmp"],
    )
    for path in (left, *(tmp_path / name for name in others)):
        path.write_bytes(b"half")
    full_scores().save(tmp_path / "scores")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["scores", *others])


def test_writers_of_one_file_at_the_same_time_all_end_and_leave_one_whole_file(tmp_path: Path) -> None:
    texts = [str(writer).encode() * 10_000 for writer in range(3)]

    def write_often(text: bytes) -> None:
        for _ in range(25):
            write_whole(tmp_path / "claims.json", text)

    with ThreadPoolExecutor(len(texts)) as writers:
        list(writers.map(write_often, texts))
    assert (tmp_path / "claims.json").read_bytes() in texts
    assert [path.name for path in tmp_path.iterdir()] == ["claims.json"]


def test_the_data_reaches_the_disk_before_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = []
    sync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda number: (steps.append(kind_of(number)), sync(number)))
    monkeypatch.setattr(Path, "replace", lambda self, target: (steps.append("rename"), replace(self, target)))
    full_scores().save(tmp_path / "scores.safetensors")
    assert steps == ["file", "rename", "folder"]


def kind_of(descriptor: int) -> str:
    return "folder" if os.path.isdir(f"/proc/self/fd/{descriptor}") else "file"


def test_files_have_the_usual_permissions(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    full_scores().save(tmp_path / "scores")
    assert (tmp_path / "scores").stat().st_mode == (tmp_path / "plain").stat().st_mode
