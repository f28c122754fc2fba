"""The short form of `tests/killing.py`, which kills a study a hundred times."""

import pytest
from killing import killed_and_resumed


@pytest.mark.parametrize("processes", [1, 2])
def test_killed_at_random_moments_and_resumed_it_ends_in_the_same_results(tmp_path, processes):
    happened = killed_and_resumed(tmp_path, kills=2, seed=processes, processes=processes)
    assert happened["kills"] >= 2
    assert happened["studies"] >= 1
