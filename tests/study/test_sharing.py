"""A run is published on the Hub and fetched from it, by the Hub's own client against a stand-in on this machine."""

import re

import pytest
import torch
import yaml
from huggingface_hub import constants
from support import hub as stand_in
from support.headcount_runs import contents_of, run

from headcount.results import HeadScores, create_run, open_run
from headcount.study import sharing
from headcount.viz import score_map_svg

MODEL = {"name": "a `model` | of mine", "fingerprint": "1234", "sizes": {"n_layers": 2, "n_heads": 3}}
ADDRESS = "hf://datasets/mira/heads"


@pytest.fixture
def hub(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_TOKEN", stand_in.TOKEN)
    with stand_in.serve() as (served, endpoint):
        monkeypatch.setattr(constants, "ENDPOINT", endpoint)
        monkeypatch.setattr(
            constants,
            "HUGGINGFACE_CO_URL_TEMPLATE",
            endpoint + "/{repo_id}/resolve/{revision}/{filename}",
        )
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr("huggingface_hub.hf_api.api.endpoint", endpoint)
        yield served


@pytest.fixture
def folder(tmp_path):
    made = create_run(tmp_path / "run", model=MODEL)
    provenance = {"seed": 3, "device": "cpu", "command": "headcount induction", "versions": {"torch": "2"}}
    values = torch.tensor([[0.1, 0.9, float("nan")], [-0.5, 0.2, 0.3]])
    made.save("induction/prefix_matching", HeadScores(values, measure="prefix_matching", provenance=provenance))
    made.save("importance/heads/plural.0shot", HeadScores(values, measure="importance", provenance=provenance))
    (tmp_path / "run" / "notes.txt").write_text("private")
    (tmp_path / "run" / "induction" / "copying.safetensors.damaged").write_bytes(b"?")
    return tmp_path / "run"


def test_a_pushed_run_comes_back_whole(capsys, hub, folder, tmp_path):
    status, out, err = run(capsys, "push", folder, ADDRESS, "--licence", "cc-by-4.0", "--private")
    assert (status, err) == (0, "")
    assert out.strip().endswith("/datasets/mira/heads")
    files = hub.datasets["mira/heads"]
    pictures = {"figures/induction.prefix_matching.svg", "figures/importance.heads.plural.0shot.svg"}
    results = {"induction/prefix_matching.safetensors", "importance/heads/plural.0shot.safetensors", "manifest.json"}
    assert files.keys() == {".gitattributes", "README.md"} | pictures | results
    assert hub.private == {"mira/heads"}

    assert run(capsys, "pull", ADDRESS, tmp_path / "copy")[0] == 0
    assert contents_of(tmp_path / "copy") == contents_of_results(folder)
    assert open_run(tmp_path / "copy").manifest == open_run(folder).manifest
    assert {path.name for path in (tmp_path / "copy").iterdir()} == {"manifest.json", "induction", "importance"}


def contents_of_results(folder):
    (folder / "notes.txt").unlink()
    (folder / "induction" / "copying.safetensors.damaged").unlink()
    return contents_of(folder)


def test_the_card_says_what_was_measured_and_how(capsys, hub, folder):
    run(capsys, "push", folder, ADDRESS, "--licence", "cc-by-4.0")
    card = hub.datasets["mira/heads"]["README.md"].decode()
    header = yaml.safe_load(re.match(r"---\n(.*?)\n---", card, re.DOTALL)[1])
    assert header["license"] == "cc-by-4.0"
    assert "headcount" in header["tags"]
    for words in (
        "`a 'model' / of mine`",
        "L0H1 (0.900)",
        "headcount pull hf://datasets/mira/heads",
        "| seed | `3 (2 of 2 results)` |",
    ):
        assert words in card
    for picture in re.findall(r"\]\((figures/[^)]+)\)", card):
        assert hub.datasets["mira/heads"][picture].startswith(b"<svg ")


def test_the_map_is_dark_where_the_score_is_high():
    drawing = score_map_svg(HeadScores(torch.tensor([[0.0, 2.0, float("nan"), -1.0]])), "<b>")
    assert re.findall(r'fill="(#\w{6})"><title>', drawing) == ["#f7f7fa", "#312e81", "#d9d9d9", "#f7f7fa"]
    assert "&lt;b&gt;" in drawing


def test_a_second_push_brings_the_same_run_up_to_date(capsys, hub, folder):
    run(capsys, "push", folder, "hf://datasets/heads")  # one's own
    (folder / "importance" / "heads" / "plural.0shot.safetensors").unlink()
    assert run(capsys, "push", folder, ADDRESS)[0] == 0
    assert [path for path in hub.datasets["mira/heads"] if "plural" in path] == []


def test_other_data_is_left_alone(capsys, hub, folder, tmp_path):
    hub.datasets["mira/heads"] = {"thesis.txt": b"mine"}
    status, _, err = run(capsys, "push", folder, ADDRESS)
    assert (status, hub.datasets["mira/heads"]) == (2, {"thesis.txt": b"mine"})
    assert "holds thesis.txt and no run of headcount" in err
    assert "holds no run of headcount" in run(capsys, "pull", ADDRESS, tmp_path / "copy")[2]
    assert not (tmp_path / "copy").exists()
    other = create_run(tmp_path / "other", model=MODEL | {"name": "another"})
    hub.datasets["mira/heads"] = {"manifest.json": (other.folder / "manifest.json").read_bytes()}
    assert "holds another run, of another" in run(capsys, "push", folder, ADDRESS)[2]


def test_no_token_goes_up_or_stays(capsys, hub, folder, tmp_path):
    assert run(capsys, "push", folder, ADDRESS)[0] == 0
    assert f"Bearer {stand_in.TOKEN}" in hub.authorised
    run(capsys, "pull", ADDRESS, tmp_path / "copy")
    written = [*hub.datasets["mira/heads"].values()] + [p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()]
    assert not any(stand_in.TOKEN.encode() in data for data in written)

    provenance = {"command": f"headcount induction --token {stand_in.TOKEN}"}
    open_run(folder).save("induction/copying", HeadScores(torch.zeros(2, 3), provenance=provenance))
    status, _, err = run(capsys, "push", folder, ADDRESS)
    assert status == 2
    assert "contains your token of the Hub: nothing was sent" in err
    assert stand_in.TOKEN not in err
    assert "induction/copying.safetensors" not in hub.datasets["mira/heads"]


def test_a_damaged_run_neither_goes_up_nor_comes_down(capsys, hub, folder, tmp_path):
    assert run(capsys, "push", folder, ADDRESS)[0] == 0
    files = hub.datasets["mira/heads"]
    path = "induction/prefix_matching.safetensors"
    files[path] = files[path][:-1] + bytes([files[path][-1] ^ 1])
    status, _, err = run(capsys, "pull", ADDRESS, tmp_path / "copy")
    assert (status, len(err.splitlines())) == (2, 1)
    assert not (tmp_path / "copy").exists()
    (folder / path).write_bytes(files[path])
    assert run(capsys, "push", folder, "hf://datasets/mira/second")[0] == 2
    assert "mira/second" not in hub.datasets


@pytest.mark.parametrize(
    ("status", "code", "words"), [(401, 2, "hf auth login"), (403, 2, "hf auth login"), (500, 1, "answered 500")]
)
def test_refusals_are_one_line(capsys, hub, folder, status, code, words, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda _: None)
    hub.status = status
    actual, out, err = run(capsys, "push", folder, ADDRESS)
    assert (actual, out, len(err.splitlines())) == (code, "", 1)
    assert words in err


def test_offline_and_bad_addresses_are_one_line(capsys, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    status, _, err = run(capsys, "push", folder, ADDRESS)
    assert (status, len(err.splitlines())) == (1, 1)
    assert "unset HF_HUB_OFFLINE" in err
    for address in ("mira/heads", "hf://models/mira/heads", "hf://datasets/a/b/c", "hf://datasets/../b"):
        status, _, err = run(capsys, "pull", address, tmp_path / "copy")
        assert (status, len(err.splitlines())) == (2, 1), address
    assert "names a revision" in run(capsys, "push", folder, f"{ADDRESS}@v1")[2]
    assert "is not empty" in run(capsys, "pull", ADDRESS, folder)[2]


def test_a_missing_dataset_or_revision_is_named(capsys, hub, folder, tmp_path):
    assert "log in with hf auth login" in run(capsys, "pull", ADDRESS, tmp_path / "copy")[2]
    run(capsys, "push", folder, ADDRESS)
    assert "no such revision" in run(capsys, "pull", f"{ADDRESS}@v9", tmp_path / "copy")[2]


def test_addresses_name_a_revision():
    assert sharing.parse_address("hf://datasets/mira/heads@v1") == ("mira/heads", "v1")
    assert sharing.parse_address("hf://datasets/heads") == ("heads", None)
