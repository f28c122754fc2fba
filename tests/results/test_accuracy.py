"""Accuracy: it holds the answers that it is the mean of, on disk too, and refuses what does not fit."""

import math

import pytest
import torch

from headcount.results import Accuracy, InputError, create_run


def accuracy(**changes):
    fields = {
        "value": 2 / 3,
        "stderr": 1 / 3,
        "n": 3,
        "chance": 0.25,
        "majority": math.nan,
        "correct": [1, 0, 1],
        "choice": [0, 2, 1],
        "gold_log_p": [-1.5, -2.5, -0.5],
        "margin": [0.5, -1.0, math.nan],
        "cut": 1,
        "provenance": {"task": "copa"},
    }
    return Accuracy(**(fields | changes))


def test_it_survives_a_file_and_a_run_unchanged(tmp_path):
    run = create_run(tmp_path / "run", model={"name": "m"})
    run.save("accuracy/copa", accuracy())
    for back in (run["accuracy/copa"], Accuracy.load(tmp_path / "run" / "accuracy" / "copa.safetensors")):
        assert (back.value, back.stderr, back.n, back.chance, back.cut) == (2 / 3, 1 / 3, 3, 0.25, 1)
        assert math.isnan(back.majority)
        assert back.provenance == {"task": "copa"}
        for name in ("correct", "choice", "gold_log_p", "margin"):
            assert torch.equal(getattr(back, name).nan_to_num(9), getattr(accuracy(), name).nan_to_num(9))
        assert back.greedy is None
        assert all(map(math.isnan, back.exact_match))


def test_documents_written_right_survive_a_file(tmp_path):
    accuracy(greedy=[1, 0, 1]).save(tmp_path / "a.safetensors")
    back = Accuracy.load(tmp_path / "a.safetensors")
    assert back.greedy.tolist() == [1, 0, 1]
    assert back.exact_match == pytest.approx((2 / 3, 1 / 3), abs=1e-6)
    assert back.to_frame()["greedy"].tolist() == [1, 0, 1]


def test_the_table_has_a_row_for_each_document():
    frame = accuracy().to_frame()
    assert list(frame.columns) == ["document", "choice", "gold_log_p", "margin"]
    assert frame["gold_log_p"].tolist() == [-1.5, -2.5, -0.5]


def test_units_and_documents_may_differ_in_number():
    assert accuracy(n=2, correct=[1, 0]).n == 2


@pytest.mark.parametrize(
    "changes", [{"correct": [1, 0]}, {"n": 0}, {"margin": [1.0]}, {"greedy": [1.0]}, {"gold_log_p": [[1.0]]}]
)
def test_what_does_not_fit_is_refused(changes):
    with pytest.raises(InputError):
        accuracy(**changes)


@pytest.mark.parametrize(
    ("value", "stderr", "chance", "majority", "beats"),
    [
        (0.75, 0.0625, 0.5, math.nan, True),
        (0.625, 0.0625, 0.5, math.nan, False),  # exactly two standard errors
        (0.75, 0.0625, 0.5, 0.7, False),
        (0.75, 0.0625, 0.7, 0.5, False),
        (0.75, 0.0625, 0.5, 0.5, True),
        (0.25, 0.0625, 0.0, math.nan, True),
        (1.0, 0.0, 0.5, 0.5, True),
        (1.0, math.nan, 0.5, math.nan, False),
        (0.25, 0.0, 0.5, 0.5, False),
    ],
)
def test_chance_is_beaten_by_two_standard_errors(value, stderr, chance, majority, beats):
    assert Accuracy(value, stderr, 2, chance, majority, [1, 0], [0, 0], [0, 0], [0, 0]).beats_guessing is beats
