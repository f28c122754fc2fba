"""`show` at any width: whole numbers, whole labels, the summary first. And the same command with other settings."""

import json
import os
import pty
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from support.headcount_runs import run

from headcount.cli.run_tables import run_values
from headcount.cli.tables import json_safe
from headcount.results import (
    Accuracy,
    HeadScores,
    LayerScores,
    Patterns,
    RepeatLoss,
    Run,
    Table,
    create_run,
    open_run,
)
from headcount.results.internal import read_content, write_content
from headcount.study import unit

NAMES = [f"a_task_with_a_long_name_{number}" for number in range(8)]
VALUE = 0.123456
CORRELATION = {"rho": VALUE, "p_value": VALUE, "low": VALUE, "high": VALUE, "null_mean": VALUE, "null_low": -VALUE}
CORRELATION |= {"null_high": VALUE, "null_p": VALUE, "ceiling": VALUE, "n": 2, "variant": "spearman", "within": None}


def accuracy() -> Accuracy:
    one = torch.ones(50)
    return Accuracy(0.5625, 0.0707, 50, 0.25, 0.3, one, one, one, one, ties=3)


@pytest.fixture
def study(tmp_path: Path) -> Run:
    """A run with many results."""
    created = create_run(tmp_path / "run", model={"name": "tiny"})
    for measure in ("prefix_matching", "copying"):
        scores = HeadScores([[0.75, 0.125]], [[0.01, 0.01]], 20, measure=measure, provenance={"n_tokens": [101, 893]})
        created.save(f"induction/{measure}", scores)
    for name in NAMES:
        created.save(f"accuracy/{name}.5shot", accuracy())
        created.save(f"importance/heads/{name}.5shot", HeadScores([[VALUE, -VALUE]], [[1e-4, 1e-4]], 50))
        created.save(f"importance/ffns/{name}.5shot", LayerScores([VALUE], n=50, extras={"log_p": [VALUE]}))
    pairs = [{"a": a, "b": b, **CORRELATION} for a in NAMES[:2] for b in NAMES[2:4]]
    created.save("analyses/heads/correlations.5shot", Table.of(pairs, "correlations"))
    claim = {"claim": "it holds", "verdict": "holds", "evidence": "much " * 40, "criterion": "", "published": ""}
    created.save("analyses/claims", Table.of([claim | {"source": ""}], "claims"))
    return created


def at_a_terminal(columns: int, *arguments: object) -> str:
    """What a command writes to a terminal of so many columns."""
    parent, child = pty.openpty()
    environment = os.environ | {"COLUMNS": str(columns), "TERM": "xterm", "NO_COLOR": "1"}
    command = [sys.executable, "-m", "headcount", *map(str, arguments)]
    process = subprocess.Popen(command, stdout=child, stderr=subprocess.PIPE, env=environment)
    os.close(child)
    written = b""
    try:
        while chunk := os.read(parent, 65536):
            written += chunk
    except OSError:  # the end of a terminal
        pass
    os.close(parent)
    assert process.wait() == 0, process.stderr.read()
    return re.sub(r"\x1b\[[0-9;]*m", "", written.decode()).replace("\r\n", "\n")


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_numbers_are_whole_and_labels_are_there_at_any_width(study: Run, columns: int) -> None:
    out = at_a_terminal(columns, "show", study.folder, "--section", "analyses")
    assert max(map(len, out.splitlines())) <= columns
    correlations = out[out.index("rank correlation") :]
    assert "…" not in out
    assert correlations.count("0.1235") == 4 * 5  # rho, its interval, and that of the layers alone
    joined = re.sub(r"\s+", "", correlations)
    assert all(name[:12] in joined for name in NAMES[:4])
    parts = [line for line in correlations.splitlines() if re.match(r"\s*a\s+b\s", line)]
    assert len(parts) >= (1 if columns == 200 else 2)  # a table that is too wide comes in parts, each with its labels


def test_a_pipe_gets_whole_lines(study: Run, capsys) -> None:
    out = run(capsys, "show", study.folder, "--section", "analyses")[1]
    (line,) = [line for line in out.splitlines() if NAMES[0] in line and NAMES[3] in line]
    assert line.count("0.1235") == 5


def test_the_summary_comes_first_and_is_short(study: Run, capsys) -> None:
    out = run(capsys, "show", study.folder)[1]
    assert len(out.splitlines()) < 60
    assert out.index(NAMES[0]) < out.index("holds") < out.index("induction/copying") < out.index("more in")
    assert "n = 20, 101 to 893 tokens" in out
    assert f"16 more in importance: headcount show {study.folder} --section importance" in out
    assert "0.5625" in out
    assert "0.071" in out  # its error, two digits
    assert "ties" in out


def test_one_result_and_one_section(study: Run, capsys) -> None:
    name = f"importance/heads/{NAMES[2]}.5shot"
    status, out, _ = run(capsys, "show", study.folder, name)
    assert status == 0
    assert name in out
    assert NAMES[3] not in out
    status, out, _ = run(capsys, "show", study.folder, f"{name}.safetensors", "--json")
    assert list(json.loads(out)["results"]) == [name]
    out = run(capsys, "show", study.folder, "--section", "induction")[1]
    assert "induction/prefix_matching" in out
    assert NAMES[0] not in out


def test_values_read_without_torch_are_those_of_the_results(tmp_path: Path) -> None:
    created = create_run(tmp_path / "run", model={"name": "tiny"})
    for name, result in every_result().items():
        created.save(name, result)
    values = run_values(created, created.names, 3)["results"]
    for name in ("heads", "layers"):
        scores = created[name]
        assert [row["value"] for row in values[name]["top"]] == [value for *_, value in scores.top(3)]
        labels = [scores.label(*position) for *position, _ in scores.top(3)]
        assert [row["head" if name == "heads" else "layer"] for row in values[name]["top"]] == labels
        errors = [float(scores.stderr[tuple(position)]) for *position, _ in scores.top(3)]
        assert [row["stderr"] for row in values[name]["top"]] == errors
    loss = created["loss"]
    assert [row["loss"] for row in values["loss"]["loss"]] == json_safe(loss.loss.tolist())
    assert [row["stderr"] for row in values["loss"]["loss"]] == json_safe(loss.stderr.tolist())
    assert values["loss"]["late_minus_early"] == loss.late_minus_early
    assert values["table"]["rows"] == json_safe(created["table"].records())
    assert values["accuracy"]["accuracy"]["value"] == created["accuracy"].value
    assert values["patterns"] == {"definition": "words", "tokens": 2, "layers": 1, "heads": 2}
    assert {name for name, value in values.items() if "damaged" in value} == set()


def every_result() -> dict[str, Any]:
    loss = torch.tensor([3.0, 1.5, float("nan")])
    return {
        "heads": HeadScores([[0.5, 0.25, 0.75], [float("nan"), 0.5, 0.1]], torch.full((2, 3), 0.01), n=7),
        "layers": LayerScores([0.0, 0.5, 0.0], [0.1, 0.2, 0.3], n=5, extras={"log_p": [0.1, 0.2, 0.3]}),
        "loss": RepeatLoss(loss, loss.abs(), 4, late_minus_early=-1.5, late_minus_early_stderr=float("nan")),
        "table": Table.of([{"a": 1, "b": "x", "c": float("inf"), "d": None}], "rows"),
        "accuracy": accuracy(),
        "patterns": Patterns.of(torch.eye(2).expand(1, 2, 2, 2), ["a", "b"], "words"),
    }


def test_commands_that_run_no_model_import_none_of_the_large_packages(study: Run) -> None:
    """They would take seconds: `--help` shall be there in 0.3 s, the others within one."""
    large = {"torch", "transformers", "nnsight", "pandas", "scipy", "plotly", "datasets", "lm_eval", "ray"}
    code = f"import sys; from headcount.cli import main; main(sys.argv[1:]); print({large} & sys.modules.keys())"
    for arguments in (["--help"], ["show", str(study.folder)], ["tasks"], ["doctor"]):
        done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[-1] == "set()", arguments


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["importance/heads/a_task_with_a_long_nam_2.5shot"], "did you mean importance/heads/a_task_with_a_long_name"),
        (["--section", "nothing"], "has no section 'nothing': expected one of accuracy, analyses, importance, ind"),
        (["analyses/claims", "--section", "analyses"], "exclude each other"),
    ],
)
def test_what_is_not_there_is_named(study: Run, capsys, arguments: list[str], message: str) -> None:
    status, _, err = run(capsys, "show", study.folder, *arguments)
    assert status == 2
    assert message in err


def test_a_reader_that_has_enough_ends_it_quietly(study: Run) -> None:
    shown = f"{sys.executable} -m headcount show {study.folder} --json --top 1000"
    command = shown + " | head -c 10 > /dev/null; echo ${PIPESTATUS[0]}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] in ("0", "141")
    assert done.stderr == ""


def test_closed_output_makes_no_traceback(study: Run) -> None:
    command = f"{sys.executable} -m headcount show {study.folder} >&-"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    assert done.returncode == 0


TASK = ("--model", "tiny-opt", "--task", "plural")


def test_other_settings_do_not_replace_a_result(tmp_path: Path, capsys) -> None:
    out = tmp_path / "run"
    assert run(capsys, "importance", *TASK, "--limit", 6, "--out", out)[0] == 0
    assert run(capsys, "prune", *TASK, "--limit", 6, "--percents", 50, "--out", out)[0] == 0
    before = open_run(out)["importance/heads/plural.0shot"]
    for other in (["--limit", "4"], ["--limit", "6", "--seed", "1"], ["--limit", "6", "--reduction", "token"]):
        status, _, err = run(capsys, "importance", *TASK, *other, "--out", out)
        assert status == 2
        assert "choose another --out to keep both, or --replace to measure it again" in err
        assert f"with {other[-2].removeprefix('--')} = " in err
    status, _, err = run(capsys, "prune", *TASK, "--limit", 6, "--percents", 30, 60, "--out", out)
    assert status == 2
    assert "pruning/heads/plural.0shot.own with percents = [0.0, 50.0], and [0.0, 30.0, 60.0] is requested" in err
    assert torch.equal(open_run(out)["importance/heads/plural.0shot"].values, before.values)
    assert run(capsys, "importance", *TASK, "--limit", 6, "--out", out)[0] == 0  # the same again goes on


def test_replacing_sets_aside_what_was_derived(tmp_path: Path, capsys) -> None:
    out = tmp_path / "run"
    run(capsys, "importance", *TASK, "--limit", 6, "--out", out)
    run(capsys, "prune", *TASK, "--limit", 6, "--percents", 50, "--out", out)
    status, _, err = run(capsys, "importance", *TASK, "--limit", 4, "--out", out, "--replace")
    assert status == 0
    assert "pruning/heads/plural.0shot.own was derived from another importance/heads/plural.0shot" in err
    found = open_run(out)
    assert found["importance/heads/plural.0shot"].n == 4
    assert "pruning/heads/plural.0shot.own" not in found
    assert list((out / "pruning" / "heads").glob("*.outdated"))


def test_home_is_expanded_after_an_equals_sign(tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    arguments = ("induction", "--model", "tiny-opt", "--sequences", 1, "--no-control", "--out=~/there")
    assert run(capsys, *arguments)[0] == 0
    assert (tmp_path / "there" / "manifest.json").is_file()
    assert run(capsys, "report", "~/there", "--output=~/page.html")[0] == 0
    assert (tmp_path / "page.html").is_file()


def test_what_was_derived_from_the_derived_is_set_aside_too(tmp_path: Path) -> None:
    created = create_run(tmp_path / "run", model={"name": "tiny"})
    heads = "importance/heads/a.0shot"

    def derived(value: float, source: str) -> HeadScores:
        return HeadScores([[value]], provenance={"inputs": {source: unit._digest(created, source)}})

    created.save(heads, HeadScores([[1.0]]))
    created.save("importance/heads/mean.0shot", derived(2.0, heads))
    created.save("analyses/x.0shot", derived(3.0, "importance/heads/mean.0shot"))
    created.save("analyses/y.0shot", HeadScores([[4.0]], provenance={"inputs": {"importance/heads/gone.0shot": "abc"}}))
    unit.set_aside_outdated(created)
    assert len(created) == 4  # nothing has changed, and what is missing is no other result
    created.save(heads, HeadScores([[1.5]]))
    unit.set_aside_outdated(created)
    assert created.names == ("analyses/y.0shot", heads)


def test_a_result_of_an_earlier_version_is_named_as_such(tmp_path: Path, capsys) -> None:
    out = tmp_path / "run"
    command = ("induction", "--model", "tiny-opt", "--sequences", 2, "--no-control", "--out", out)
    assert run(capsys, *command)[0] == 0
    found = open_run(out)
    scores = found["induction/copying"]
    known = {key: value for key, value in scores.provenance.items() if key != "lengths"}
    found.save("induction/copying", replace(scores, provenance=known))
    status, _, err = run(capsys, *command)
    assert status == 2
    assert "from an earlier version, which took the shortest sequences" in err


def test_accuracies_of_two_versions_stand_in_one_table(study: Run, capsys) -> None:
    path = study.folder / "accuracy" / f"{NAMES[0]}.5shot.safetensors"
    content = read_content(path)
    old = {key: value for key, value in content.fields.items() if key not in ("ties", "merged", "first_merged")}
    write_content(path, replace(content, fields=old))
    out = run(capsys, "show", study.folder)[1]
    assert re.search(rf"{NAMES[0]}.5shot +0.5625 .* 0 +0 *$", out, re.MULTILINE)
    assert re.search(rf"{NAMES[1]}.5shot +0.5625 .* 3 +0 *$", out, re.MULTILINE)
