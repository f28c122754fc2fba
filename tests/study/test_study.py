"""A whole study of the model that comes with the package; one killed and resumed ends in the same bytes."""

import json
import time

import pytest
from support.forked import finish, run_here, start
from support.headcount_runs import content_of, run
from support.synthetic_tasks import write_tasks

from headcount.results import PruningCurve, PruningGrid, Table, open_run

CONFIG = """
model = "tiny-opt"
sequences = 3
examples = 20
head_percents = [25, 62.5, 75, 87.5]
ffn_percents = [50]
random_percents = [62.5]
grid_head_percents = [70]
grid_ffn_percents = [20, 50]

[[tasks]]
names = ["successor", "recall"]
limit = 40
random = true
grid = true

[[tasks]]
names = ["key_value"]
shots = [0, 3]
limit = 16

[[tasks]]
names = ["letter_case"]
limit = 16
unseen = true
recomputed = true
"""
STUDY = ("study", "study.toml", "--data", ".", "--out")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("study")
    write_tasks(made, scored=40, train=20)
    (made / "study.toml").write_text(CONFIG + "\n[[tasks]]\nnames = ['plural']\nlimit = 8\nprune = false\n")
    return made


@pytest.fixture(scope="module")
def undisturbed(folder):
    run_here(folder, *STUDY, "one")
    return open_run(folder / "one")


def test_every_kind_of_result_is_there(undisturbed):
    names = set(undisturbed)
    for expected in (
        "induction/prefix_matching",
        "control/copying",
        "accuracy/successor.0shot",
        "importance/heads/key_value.3shot",
        "importance/heads/mean.0shot",
        "importance/ffns/rank-mean.0shot",
        "analyses/heads/correlations.0shot",
        "analyses/heads/across_shots_summary",
        "analyses/capacity/copying.mean.0shot",
        "analyses/layers",
        "analyses/claims",
        *(f"pruning/heads/recall.0shot.{ranking}" for ranking in ("own", "random", "mean", "most", "least")),
        "pruning/heads/letter_case.0shot.recomputed",
        "pruning/grid/successor.0shot",
    ):
        assert expected in names
    assert "pruning/heads/plural.0shot.own" not in names
    assert isinstance(undisturbed["pruning/grid/successor.0shot"], PruningGrid)
    tasks = {row["name"] for row in undisturbed["importance/heads/mean.0shot"].provenance["tasks"]}
    assert tasks == {"successor", "recall", "key_value", "plural"}  # the unseen one stays out


def test_its_induction_heads_are_what_the_tasks_need(undisturbed):
    for task in ("successor", "recall"):
        curve = undisturbed[f"pruning/heads/{task}.0shot.own"]
        assert isinstance(curve, PruningCurve)
        without = dict(zip(curve.removed, curve.value.tolist(), strict=True))
        assert without[0] >= 0.9
        assert without[5] >= 0.9  # all but the three heads of the circuit
        assert without[7] <= 0.5
        random = undisturbed[f"pruning/heads/{task}.0shot.random"]
        assert random.value[-1] < without[5] - 0.2


def test_claims_are_evaluated(undisturbed):
    table = undisturbed["analyses/claims"]
    assert isinstance(table, Table)
    verdicts = {row["claim"]: row["verdict"] for row in table.records()}
    assert verdicts["Head importance tells which heads can go"] == "holds"
    assert verdicts["Few heads do both primitives"] == "undecided"  # no head copies
    assert verdicts["70 % of heads can be removed with minimal decline"] == "undecided"  # no step of 70 %


def test_killed_in_the_middle_and_resumed_it_ends_in_the_same_bytes(folder, undisturbed):
    process = start(folder, *STUDY, "two")
    deadline = time.monotonic() + 120
    while (
        time.monotonic() < deadline
        and not (folder / "two" / "importance" / "heads" / "recall.0shot.safetensors").exists()
    ):
        time.sleep(0.05)
    process.kill()
    process.join()
    before = set(open_run(folder / "two"))
    assert 0 < len(before) < len(undisturbed)
    finish(folder, start(folder, *STUDY, "two"))
    resumed = open_run(folder / "two")
    assert set(resumed) == set(undisturbed)
    for path in sorted((folder / "one").rglob("*.*")):
        if path.name != "manifest.json":
            assert content_of(path) == content_of(folder / "two" / path.relative_to(folder / "one")), path


def test_a_second_time_there_is_nothing_to_do_and_a_dry_run_says_so(folder, undisturbed, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    status, out, err = run(capsys, "study", "study.toml", "--data", ".", "--out", "one", "--dry-run", "--json")
    assert status == 0, err
    units = json.loads(out)
    assert all(unit["done"] for unit in units)
    assert {name for unit in units for name in unit["names"]} == set(undisturbed)
    status, out, _ = run(capsys, "study", "study.toml", "--data", ".", "--out", "new", "--dry-run")
    assert status == 0
    assert f"0 of {len(units)} units are done" in " ".join(out.split())


def test_bad_input_is_one_line_that_helps(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    (tmp_path / "twice.toml").write_text("[[tasks]]\nnames = ['plural', 'plural']\n")
    (tmp_path / "unknown.toml").write_text("[[tasks]]\nnames = ['plurals']\n")
    (tmp_path / "typo.toml").write_text("[[tasks]]\nname = ['plural']\n")
    for arguments, message in (
        ((), "expected a configuration file or --preset, got neither"),
        (("study.toml", "--preset", "quick"), "got both"),
        (("--preset", "slow"), "--preset must be one of"),
        ((tmp_path / "twice.toml",), "plural.0shot is requested twice"),
        ((tmp_path / "unknown.toml",), "did you mean plural"),
        ((tmp_path / "typo.toml",), "line 2: there is no setting 'tasks.0.name'"),
    ):
        status, out, err = run(capsys, "study", *arguments, "--out", tmp_path / "new")
        assert (status, out) == (2, ""), err
        assert len(err.splitlines()) == 1
        assert message in err


def test_show_cuts_long_tables_but_never_the_verdicts(folder, undisturbed, capsys):
    status, out, _ = run(capsys, "show", folder / "one", "--section", "analyses", "--top", 2)
    assert status == 0
    assert "more rows: --json or --top shows more" in out
    out = run(capsys, "show", folder / "one", "--top", 2)[1]
    assert "more in analyses: headcount show" in out
    assert out.count("undecided") + out.count("holds") + out.count("does not") >= 16
