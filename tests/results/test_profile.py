"""A head's profile: it comes back from a file as it was, shows itself, and refuses what does not fit."""

import math

import pytest
import torch

from headcount.results import HeadProfile, HeadScores, InputError, Standing, create_run, open_run

HOSTILE = "</td><script>alert(1)</script>"


def profile(**changes):
    fields = {
        "layer": 18,
        "head": 6,
        "text": "a b a",
        "tokens": ["a", " b", " a"],
        "pattern": [[1, 0, 0], [0.75, 0.25, 0], [0.25, 0.5, 0.25]],
        "by_lag": [0.25, 0.5, math.nan],
        "sink": 0.5,
        "entropy": [0, 0.5, 1.0],
        "relative_entropy": [math.nan, 0.5, 0.75],
        "sources": ["a", " b"],
        "raised": [["x", "y"], ["z", "\n"]],
        "raised_logits": [[2, 1], [3, 2]],
        "lowered": [["p", "q"], ["r", "s"]],
        "lowered_logits": [[-2, -1], [-3, -2]],
        "own_logit": [0.5, -0.5],
        "own_rank": [7, 4000],
        "vocab": 5000,
        "standings": {"copying": Standing(0.5, math.nan, 2, 12, 3, "head-output"), HOSTILE: standing()},
        "provenance": {"model": "m"},
    }
    return HeadProfile(**(fields | changes))


def standing():
    return Standing.of(HeadScores([[math.nan, 1.0]]), 0, 0)


def test_it_survives_a_file_and_a_run_unchanged(tmp_path):
    run = create_run(tmp_path / "run", model={"name": "m"})
    run.save("profiles/L18H6", profile())
    back = open_run(tmp_path / "run")["profiles/L18H6"]
    assert isinstance(back, HeadProfile)
    for name, value in vars(profile()).items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(getattr(back, name).nan_to_num(9), value.nan_to_num(9)), name
        elif name != "standings":
            assert getattr(back, name) == value, name
    assert repr(back.standings) == repr(profile().standings)
    assert math.isnan(HeadProfile.load(saved(tmp_path, sink=math.nan)).sink)


def saved(folder, **changes):
    profile(**changes).save(folder / "profile.safetensors")
    return folder / "profile.safetensors"


def test_the_table_has_a_row_for_each_query():
    frame = profile().to_frame()
    assert frame["token"].tolist() == ["a", " b", " a"]
    assert frame["attends_to"].tolist() == [0, 0, 1]
    assert frame["attended_token"].tolist() == ["a", "a", " b"]
    assert frame["attention"].tolist() == [1.0, 0.75, 0.5]
    assert frame["attention_to_first"].tolist() == [1.0, 0.75, 0.25]
    assert frame["entropy"].tolist() == [0.0, 0.5, 1.0]


def test_the_table_of_what_it_writes_has_a_row_for_each_token():
    frame = profile().written_frame()
    assert len(frame) == 8
    assert frame.iloc[0].tolist() == ["a", "raised", 1, "x", 2.0]
    assert frame.iloc[-1].tolist() == [" b", "lowered", 2, "s", -2.0]


def test_it_shows_itself():
    assert repr(profile(standings={})) == "HeadProfile(L18H6, 3 tokens)"
    assert "copying 0.500 (rank 2)" in repr(profile())
    table = profile()._repr_html_()
    assert "<caption>L18H6 on 3 tokens</caption>" in table
    assert "<td>copying</td><td>0.5000</td><td>2 of 12</td>" in table
    assert "<td>nan</td><td>n/a of 1</td>" in table
    assert "<script>" not in table


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pattern": [[1, 0], [0, 1]]}, "pattern: expected shape"),
        ({"pattern": [[1, 0, 0], [0.5, 0, 0], [0, 0, 1]]}, "rows that sum to 1, got 0.5 to 1"),
        ({"entropy": [0, 1]}, "entropy: expected shape"),
        ({"vocab": 0}, "vocab: expected a whole number"),
        ({"own_rank": [1]}, "own_rank: expected shape"),
        ({"raised": [["x"], ["y"]]}, "raised: expected 2 rows of 2 tokens"),
        ({"provenance": {1: 2}}, "provenance"),
    ],
)
def test_what_does_not_fit_is_refused(changes, message):
    with pytest.raises(InputError, match=message):
        profile(**changes)
