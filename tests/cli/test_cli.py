"""The command line, used as a person and as a program would."""

import dataclasses
import json
import os
import subprocess
import sys

import pytest
import torch
from reference.models import BUILDERS, bpe_tokenizer
from support.headcount_runs import run

from headcount.induction import head_profile
from headcount.results import create_run, open_run
from headcount.tracing import load_model


@pytest.fixture
def folder(tmp_path, capsys):
    """A model on disk."""
    BUILDERS["opt"]().save_pretrained(tmp_path / "opt")
    bpe_tokenizer().save_pretrained(tmp_path / "opt")
    capsys.readouterr()  # transformers' bars
    return tmp_path / "opt"


@pytest.fixture
def measured(tmp_path, capsys):
    """A run of the model that comes with the package."""
    status, _, err = run(capsys, "induction", "--model", "tiny-opt", "--sequences", 2, "--out", tmp_path / "run")
    assert status == 0, err
    return tmp_path / "run"


def test_induction_writes_a_run_and_show_and_report_read_it(measured, capsys, tmp_path):
    names = {"prefix_matching", "copying", "copying_published"}
    found = open_run(measured)
    assert set(found) == {
        *(f"{folder}/{name}" for folder in ("induction", "control") for name in names),
        "induction/repeat_loss",
        "attention/repeated",
        "attention/text",
    }
    status, out, err = run(capsys, "show", measured, "--top", 3)
    assert (status, err) == (0, "")
    layer, head, value = found["induction/prefix_matching"].top(1)[0]
    assert f"L{layer}H{head}" in out
    assert f"{value:.4f}" in out
    assert "attention/repeated: 8 random tokens, said 3 times; 25 tokens, in the report" in out
    status, out, _ = run(capsys, "report", measured, "--output", tmp_path / "report.html")
    assert status == 0
    assert f"L{layer}H{head}" in (tmp_path / "report.html").read_text(encoding="utf-8")
    smaller = run(capsys, "report", measured, "--output", tmp_path / "small.html", "--max-mb", 0.5)
    assert smaller[0] == 0
    assert (tmp_path / "small.html").stat().st_size < (tmp_path / "report.html").stat().st_size
    assert run(capsys, "report", measured, "--max-mb", 0)[0] == 2


def test_show_as_json_is_the_same_for_a_program(measured, capsys):
    status, out, err = run(capsys, "show", measured, "--json", "--top", 1)
    assert (status, err) == (0, "")
    (top,) = json.loads(out)["results"]["induction/prefix_matching"]["top"]
    layer, head, value = open_run(measured)["induction/prefix_matching"].top(1)[0]
    assert (top["head"], top["value"]) == (f"L{layer}H{head}", value)


def test_what_is_there_is_not_measured_again_and_what_changed_is(measured, capsys):
    again = ("induction", "--model", "tiny-opt", "--out", measured, "--json")
    before = {path: path.stat().st_mtime_ns for path in measured.rglob("*.*")}
    status, out, _ = run(capsys, *again, "--sequences", 2)
    assert status == 0
    assert json.loads(out)["measured"] == []
    assert {path: path.stat().st_mtime_ns for path in measured.rglob("*.*")} == before
    (measured / "induction" / "repeat_loss.json").unlink()
    assert json.loads(run(capsys, *again, "--sequences", 2)[1])["measured"] == ["induction/repeat_loss"]
    assert run(capsys, *again, "--sequences", 1)[0] == 2
    assert "induction/copying" in json.loads(run(capsys, *again, "--sequences", 1, "--replace")[1])["measured"]


def test_a_damaged_result_is_named_set_aside_and_measured_again(measured, capsys):
    path = measured / "induction" / "copying.safetensors"
    path.write_bytes(path.read_bytes()[:-7])
    status, out, err = run(capsys, "induction", "--model", "tiny-opt", "--sequences", 2, "--out", measured, "--json")
    assert status == 0
    assert "copying.safetensors" in err
    assert "induction/copying" in json.loads(out)["measured"]
    assert (measured / "induction" / "copying.safetensors.damaged").is_file()
    assert open_run(measured)["induction/copying"].n == 2


def test_the_same_command_gives_the_same_numbers(tmp_path, capsys):
    for name in ("one", "two"):
        run(capsys, "induction", "--model", "tiny-opt", "--sequences", 1, "--no-control", "--out", tmp_path / name)
    one, two = (open_run(tmp_path / name)["induction/copying"].values for name in ("one", "two"))
    assert torch.equal(one, two)


def test_a_folder_of_a_persons_own_model_works(folder, capsys, tmp_path):
    status, _, err = run(capsys, "induction", "--model", folder, "--sequences", 1, "--out", tmp_path / "own")
    assert status == 0, err
    assert open_run(tmp_path / "own").manifest["model"]["name"] == "opt"


def test_a_context_too_short_for_some_sequences_is_reported_in_one_line(folder, capsys, tmp_path):
    status, _, err = run(
        capsys, "induction", "--model", folder, "--sequences", 30, "--no-control", "--out", tmp_path / "r"
    )
    assert status == 0
    (line,) = err.splitlines()
    assert "of 30 sequences are left out" in line


def test_help_names_every_command_and_every_option(capsys):
    assert all(command in run(capsys, "--help")[1] for command in ("induction", "show", "report", "fetch", "doctor"))
    assert all(
        option in run(capsys, "induction", "--help")[1] for option in ("--out", "--model", "--sequences", "--seed")
    )


def bad(tmp_path, folder):
    """Yield bad input: arguments, and a part of the line about it."""
    (tmp_path / "a-file").write_text("x")
    (tmp_path / "empty").mkdir()
    no_weights, broken, foreign = (tmp_path / name for name in ("no-weights", "broken", "foreign"))
    for made, content in ((no_weights, (folder / "config.json").read_text()), (broken, '{"model_type": "op')):
        made.mkdir()
        (made / "config.json").write_text(content)
    foreign.mkdir()
    (foreign / "config.json").write_text('{"model_type": "mamba", "vocab_size": 10}')
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "something.txt").write_text("x")
    out = ("--out", tmp_path / "new")
    yield ("induction",), "--out"
    yield ("induction", "--sequences", "many", *out), "many"
    yield ("induction", "--sequences", 0, *out), "--sequences must be 1 or more, not 0"
    yield ("induction", "--sequences", -2, *out), "--sequences must be 1 or more, not -2"
    yield ("induction", "--seed", -1, *out), "--seed must be 0 or more, not -1"
    yield ("induction", "--frobnicate", *out), "--frobnicate"
    yield ("induction", "--out", tmp_path / "a-file"), "got a file"
    yield ("induction", "--model", folder, "--out", tmp_path / "full"), "no manifest.json"
    yield ("induction", "--model", folder, "--out", "/proc/nowhere/run"), "/proc/nowhere"
    yield ("induction", "--model", tmp_path / "nowhere", *out), "no model at"
    yield ("induction", "--model", "not a model!", *out), "no model at"
    yield ("induction", "--model", tmp_path / "empty", *out), "config.json"
    yield ("induction", "--model", no_weights, *out), "weights"
    yield ("induction", "--model", broken, *out), "configuration"
    yield ("induction", "--model", foreign, *out), "'mamba' is not supported"
    yield ("induction", "--model", folder, "--dtype", "float12", *out), "float12"
    yield ("induction", "--model", folder, "--device", "tpu9", *out), "tpu9"
    yield ("show", tmp_path / "nowhere"), "manifest.json"
    yield ("show", tmp_path / "empty"), "manifest.json"
    yield ("show",), "FOLDER"
    yield ("show", tmp_path / "empty", "--top", 0), "--top must be 1 or more"
    yield ("report", tmp_path / "empty"), "manifest.json"
    yield ("fetch", "gpt5"), "'gpt5' cannot be fetched"
    yield ("dance",), "dance"


def test_bad_input_is_one_line_that_helps_and_exit_status_2(tmp_path, folder, capsys):
    for arguments, message in bad(tmp_path, folder):
        status, out, err = run(capsys, *arguments)
        assert status == 2, (arguments, out, err)
        assert len(err.splitlines()) == 1, (arguments, err)
        assert out == "", arguments
        assert message in err, (arguments, err)


def test_output_that_nobody_takes_is_no_traceback(measured):
    command = [sys.executable, "-m", "headcount", "show", measured, "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as reader_gone:
        reader_gone.stdout.close()
        assert reader_gone.stderr.read() == ""
    assert reader_gone.returncode == 141
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (
        2,
        "headcount: no space left where the output goes; free some, or send it elsewhere\n",
    )


def test_a_folder_whose_name_is_not_utf_8_is_measured_shown_and_reported(capsys, monkeypatch, tmp_path):
    folder = tmp_path / os.fsdecode(b"run\xff")
    command = ["induction", "--model", "tiny-opt", "--sequences", "1", "--no-control", "--out", str(folder)]
    monkeypatch.setattr(sys, "argv", ["headcount", *command])  # what the results say they were measured with
    assert run(capsys, *command)[0] == 0
    assert run(capsys, "show", folder)[0] == 0
    status, out, err = run(capsys, "report", folder, "--output", tmp_path / os.fsdecode(b"\xff.html"))
    assert (status, err) == (0, "")
    assert r"\udcff.html" in out


def test_another_models_run_is_refused_before_anything_is_overwritten(measured, folder, capsys):
    before = (measured / "manifest.json").read_bytes()
    status, _, err = run(capsys, "induction", "--model", folder, "--sequences", 1, "--out", measured)
    assert status == 2
    assert len(err.splitlines()) == 1
    assert "tiny-opt" in err
    assert (measured / "manifest.json").read_bytes() == before


def test_a_heads_profile_is_shown_and_reported_with_any_text(tmp_path, folder, capsys):
    created = create_run(tmp_path / "profiled", model={"name": "opt"})
    profile = head_profile(load_model(folder), 1, 2, "ba ba bo")
    created.save("profiles/L1H2", dataclasses.replace(profile, tokens=["[/b]", "[bold]", *profile.tokens[2:]]))
    status, out, err = run(capsys, "show", created.folder)
    assert status == 0, err
    assert "L1H2 on 'ba ba bo'" in out
    assert "[/b]" in out
    values = json.loads(run(capsys, "show", created.folder, "--json")[1])
    assert values["results"]["profiles/L1H2"]["rows"][0]["attention"] == 1.0
    status, _, err = run(capsys, "report", created.folder, "--output", tmp_path / "report.html")
    assert status == 0, err


def test_a_damaged_result_is_shown_as_such(measured, capsys):
    (measured / "induction" / "copying.safetensors").write_bytes(b"")
    status, out, _ = run(capsys, "show", measured)
    assert status == 0
    assert "damaged" in out


def test_a_damaged_manifest_is_refused(measured, capsys):
    (measured / "manifest.json").write_text("{")
    status, _, err = run(capsys, "show", measured)
    assert status == 2
    assert "manifest.json" in err
