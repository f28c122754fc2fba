"""The map of pairs of heads: its data, and what it refuses."""

import numpy as np
import pytest
import torch

from headcount import viz
from headcount.results import HeadScores, InputError, PairScores


def scores():
    values = torch.full((2, 2, 2, 2), torch.nan)
    values[0, :, 1] = torch.tensor([[0.1, 0.2], [0.3, 0.4]])
    return PairScores(values, definition="K-composition: keys", provenance={"model": "<toy>"}, baseline=0.15)


def test_the_later_head_is_up_and_the_earlier_one_across():
    figure = viz.composition(scores())
    (cells,) = figure.data
    assert list(cells.x) == list(cells.y) == ["L0H0", "L0H1", "L1H0", "L1H1"]
    np.testing.assert_allclose(cells.z[2:, :2], [[0.1, 0.3], [0.2, 0.4]], rtol=1e-6)
    assert np.isnan(cells.z[:2]).all()
    assert np.isnan(cells.z[:, 2:]).all()
    assert (cells.zmin, cells.zmax) == (0.15, pytest.approx(0.4))
    assert "K-composition, &lt;toy&gt;; unrelated heads: 0.150" in figure.layout.title.text


def test_anything_else_is_bad_input():
    with pytest.raises(InputError, match="expected PairScores, as composition gives them, got HeadScores"):
        viz.composition(HeadScores(torch.zeros(2, 2)))
    with pytest.raises(InputError, match="theme"):
        viz.composition(scores(), theme="blue")
