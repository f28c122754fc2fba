"""The short form of `tests/support/killing.py`, which kills a study a hundred times."""

import pytest
from support.headcount_runs import run
from support.killing import killed_and_resumed


@pytest.mark.parametrize("processes", [1, 2])
def test_killed_at_random_moments_and_resumed_it_ends_in_the_same_results(tmp_path, processes):
    happened = killed_and_resumed(tmp_path, kills=2, seed=processes, processes=processes)
    assert happened["kills"] >= 2
    assert happened["studies"] >= 1


def test_a_unit_that_lacks_one_of_its_results_leaves_the_rest_as_they_are(tmp_path, capsys):
    command = ("induction", "--model", "tiny-opt", "--sequences", "1", "--no-control", "--out", tmp_path)
    assert run(capsys, *command)[0] == 0
    finished = {path: path.stat().st_mtime_ns for path in (tmp_path / "induction").iterdir()}
    lost = tmp_path / "induction" / "copying.safetensors"
    lost.unlink()
    assert run(capsys, *command)[0] == 0
    now = {path: path.stat().st_mtime_ns for path in (tmp_path / "induction").iterdir()}
    assert now.keys() == finished.keys()
    assert {path for path in now if now[path] != finished[path]} == {lost}
