"""`headcount verify`: known numbers come out, others do not, and nothing unknown passes."""

import json
from dataclasses import replace

import pytest
from support.headcount_runs import run

from headcount.cli import verification
from headcount.results import HeadScores, InputError
from headcount.study import all_passed, known_model, known_models, known_numbers, verify_model
from headcount.study.verification.verify import MEASURES
from headcount.tracing import load_model


@pytest.fixture(scope="module")
def tiny_opt():
    return load_model("tiny-opt")


def with_check(**check):
    return replace(known_model("tiny-opt"), checks=[check])


PREFIX = {"measure": "prefix_matching", "period": 25, "n_sequences": 1}


def test_the_numbers_of_the_model_that_ships_come_out(capsys):
    status, printed, _ = run(capsys, "verify", "tiny-opt", "--json")
    rows = json.loads(printed)
    assert status == 0
    assert len(rows) == 11
    assert all(row["passed"] for row in rows)
    assert rows[0]["what"] == "prefix matching (period 50, n sequences 4), L1H2"
    assert rows[0]["expected"] == "0.8497 ± 0.0002"


def test_another_number_fails_and_the_status_says_so(capsys, monkeypatch):
    wrong = with_check(**PREFIX, heads={"L1H2": 0.1}, tolerance=0.01)
    monkeypatch.setattr(verification, "known_model", lambda name: wrong)
    status, printed, _ = run(capsys, "verify", "tiny-opt")
    assert status == 1
    assert "FAIL" in printed
    assert "0 of 1 numbers came out" in printed


@pytest.mark.parametrize(
    ("check", "passed"),
    [
        ({"among": 2, "of": ["L1H2", "L1H3"], "at_least": 0.8}, True),
        ({"among": 2, "of": ["L1H2", "L0H0"]}, False),
        ({"among": 2, "of": ["L1H2"], "at_least": 0.99}, False),
        ({"among": 99, "of": ["L7H2"]}, False),
        ({"heads": {"L1H9": 0.0}, "tolerance": 1.0}, False),
        ({"highest_at_least": 0.8}, True),
        ({"highest_at_least": 0.99}, False),
        ({"highest_at_most": 0.99}, True),
        ({"highest_at_most": 0.2}, False),
    ],
)
def test_each_criterion(tiny_opt, check, passed):
    assert all_passed(verify_model(tiny_opt, with_check(**PREFIX, **check))) == passed


def test_nan_and_errors_never_pass(tiny_opt, monkeypatch):
    loss = with_check(measure="loss", value=1.0, tolerance=1e9)
    monkeypatch.setitem(MEASURES, "loss", lambda model: float("nan"))
    assert not all_passed(verify_model(tiny_opt, loss))

    def refuse(model):
        raise InputError("no such thing here")

    monkeypatch.setitem(MEASURES, "loss", refuse)
    (row,) = verify_model(tiny_opt, loss).records()
    assert (row["passed"], row["measured"]) == (False, "no such thing here")
    monkeypatch.setitem(MEASURES, "loss", lambda model: HeadScores([[float("nan")]]))
    assert not all_passed(verify_model(tiny_opt, with_check(measure="loss", among=5, of=["L0H0"])))


def test_a_model_that_cannot_be_opened_fails_where_none_was_named(capsys, monkeypatch):
    def no_network(source, **options):
        raise InputError("there is no network")

    monkeypatch.setattr(verification, "load_model", no_network)
    status, printed, _ = run(capsys, "verify", "--json")
    assert status == 1
    assert [(row["model"], row["measured"]) for row in json.loads(printed)] == [
        ("tiny-opt", "there is no network"),
        ("smollm2-135m", "there is no network"),
    ]
    status, _, err = run(capsys, "verify", "tiny-opt")
    assert status == 2
    assert "there is no network" in err


def test_every_entry_is_whole_and_says_if_it_was_run(capsys):
    for known in known_models():
        assert known.source
        assert known.checks
        for check in known.checks:
            assert check["measure"] in MEASURES
            assert {"heads", "value", "among", "highest_at_least", "highest_at_most"} & set(check)
        assert {row["run here"] for row in known_numbers(known)} == {"yes" if known.measured else "not run here"}
    status, printed, _ = run(capsys, "verify", "--list", "--json")
    rows = json.loads(printed)
    assert status == 0
    assert {row["run here"] for row in rows if row["model"] in ("tiny-opt", "smollm2-135m", "gemma-3-270m")} == {"yes"}
    assert {row["run here"] for row in rows if row["model"] in ("gpt2", "olmoe-1b-7b")} == {"not run here"}


def test_a_model_is_known_by_its_names_and_the_last_part_of_its_path(capsys):
    assert known_model("/a/b/gemma-3-270m-q4_k_m.gguf").name == "gemma-3-270m"
    assert known_model("EleutherAI/pythia-160m").name == "pythia-160m"
    status, _, err = run(capsys, "verify", "gpt-2")
    assert status == 2
    assert "no numbers are known of 'gpt-2'" in err
    assert "did you mean gpt2?" in err
    status, _, err = run(capsys, "verify", "--numbers-of", "gpt2")
    assert status == 2
    assert "expected the model too" in err
