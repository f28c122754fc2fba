"""`headcount atlas`: the result of the public function, a person's own text and detectors, tables, bad input."""

import json

import pytest
import torch
from support.headcount_runs import run

from headcount.importance import load_task
from headcount.induction import forget_detector, head_atlas
from headcount.results import HeadAtlas, open_run
from headcount.study import read_config, study_units
from headcount.tracing import load_model

COMMAND = ("atlas", "--model", "tiny-opt", "--sequences", 1)
DETECTOR = '''
from headcount.induction import register_detector


@register_detector
def three_back(query, key):
    """Attention to the token three positions back."""
    return query - key == 3
'''


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("Anna saw the red door. The red door saw Anna. " * 20, encoding="utf-8")
    return path


def test_the_command_leaves_the_atlas_of_the_public_function(capsys, tmp_path, text):
    out, detectors = tmp_path / "run", tmp_path / "mine.py"
    detectors.write_text(DETECTOR, encoding="utf-8")
    command = (*COMMAND, "--text", text, "--detectors", detectors, "--no-control", "--out", out)
    try:
        status, printed, err = run(capsys, *command, "--json")
        assert status == 0, err
        assert json.loads(printed)["measured"] == ["atlas/heads"]
        status, printed, _ = run(capsys, *command, "--json")
        assert json.loads(printed)["measured"] == []
        expected = head_atlas(load_model("tiny-opt"), sequences=1, text=text, control=False)
    finally:
        forget_detector("three_back")
    atlas = open_run(out)["atlas/heads"]
    assert isinstance(atlas, HeadAtlas)
    assert atlas.names == expected.names
    assert all(torch.equal(part.values, expected.scores[name].values) for name, part in atlas.scores.items())
    assert (out / "atlas" / "heads.safetensors").stat().st_size < 2e6
    fewer = (*COMMAND, "--text", text, "--no-control", "--out", out)  # without the detector: all is there
    assert json.loads(run(capsys, *fewer, "--json")[1])["measured"] == []
    status, _, err = run(capsys, *fewer, "--seed", 5)
    assert status == 2
    assert "--replace" in err

    status, printed, _ = run(capsys, "show", out, "atlas/heads")
    assert status == 0
    assert "previous_token" in printed
    assert "L0H0 0.9" in printed  # the previous-token head that tiny-opt was trained with
    assert "three_back" in printed
    assert "→" in printed
    rows = json.loads(run(capsys, "show", out, "atlas/heads", "--json", "--top", 2)[1])["results"]["atlas/heads"][
        "atlas"
    ]
    first = next(row for row in rows if (row["score"], row["tokens"]) == ("previous_token", "text"))
    assert first["top"][0]["head"] == "L0H0"
    assert len(first["top"]) == 2
    assert [example["level"] for example in first["examples"]] == ["highest", "90 %", "50 %", "10 %"]


def test_rows_of_tasks_can_be_the_text(capsys, tmp_path):
    status, _, err = run(capsys, *COMMAND, "--task", "plural", "--no-control", "--out", tmp_path / "run")
    assert status == 0, err
    record = open_run(tmp_path / "run")["atlas/heads"].provenance
    examples = load_task("plural").examples(0, 500)
    assert record["text"] == "rows of plural"
    assert 0 < record["text_sequences"] <= len(examples)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--text", "nothing-there"), "expected a file or folder of text"),
        (("--text", ".", "--task", "plural"), "exclude each other"),
        (("--data", "."), "expected --task with it"),
        (("--detectors", "nothing.py"), "expected a Python file"),
        (("--seed", -1), "--seed must be 0 or more"),
    ],
)
def test_bad_input_is_refused_in_one_line(capsys, tmp_path, arguments, message):
    status, _, err = run(capsys, *COMMAND, *arguments, "--out", tmp_path / "run")
    assert status == 2
    assert message in err
    assert err.count("\n") == 1


def test_a_file_of_detectors_that_fails_or_has_none_is_refused(capsys, tmp_path):
    path = tmp_path / "mine.py"
    for content, message in (("x = 1", "registers no detector"), ("1 / 0", "ZeroDivisionError")):
        path.write_text(content, encoding="utf-8")
        status, _, err = run(capsys, *COMMAND, "--detectors", path, "--out", tmp_path / "run")
        assert status == 2
        assert message in err


def test_a_study_measures_it_where_its_configuration_says_so(tmp_path, text):
    path = tmp_path / "study.toml"
    path.write_text(f'model = "tiny-opt"\natlas = true\natlas_text = "{text}"\n[[tasks]]\nnames = ["plural"]\n')
    config, model = read_config(path), load_model("tiny-opt")
    units = {unit.names: unit for unit in study_units(model, None, config, [])}
    unit = units["atlas/heads",]
    n_text = (unit.steps - 20 - 10) // 2
    assert 0 < n_text < 10
    counts = [len(part.items.items) for part in unit.work()]
    assert 0 < counts[0] <= 20  # of which some do not fit
    assert counts[1:] == [n_text, 10, n_text]
    without = config.model_copy(update={"atlas": False})
    assert ("atlas/heads",) not in {unit.names for unit in study_units(model, None, without, [])}
