"""Numbers as the report writes them."""

from math import inf, nan

import pytest

from headcount.results import HeadScores, LayerScores
from headcount.viz import number_format


@pytest.mark.parametrize(
    ("value", "stderr", "text"),
    [
        (3.1234e-5, nan, "3.12e-5"),
        (3.1234e-5, 4.1e-6, "3.12e-5 ± 0.41e-5"),
        (1e-7, 1e-5, "0.01e-5 ± 1.00e-5"),
        (-2e-4, 1e-4, "-2.00e-4 ± 1.00e-4"),
        (9.999e-5, nan, "1.00e-4"),
        (0.0, nan, "0.000"),
        (0.0, 0.0, "0.000 ± 0.000"),
        (-1e-9, 1e-3, "0.00e-3 ± 1.00e-3"),
        (nan, 0.1, "n/a"),
        (inf, 0.1, "inf ± 0.100"),
    ],
)
def test_small_numbers_share_the_larger_ones_exponent(value: float, stderr: float, text: str) -> None:
    assert number_format.scientific(value, stderr) == text


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ([[3e-5, 0.25]], ["0.000", "0.250"]),
        ([[3e-5, 0.0625]], ["3.00e-5", "6.25e-2"]),
        ([[-3e-5, nan]], ["-3.00e-5", "n/a"]),
        ([[0.0, 0.0]], ["0.000", "0.000"]),
        ([[nan, inf]], ["n/a", "inf"]),
    ],
)
def test_all_of_a_map_has_one_format(values: list, texts: list) -> None:
    assert number_format.score_texts(HeadScores(values, measure="head_importance")) == texts


def test_shares_keep_their_decimals_however_small() -> None:
    assert number_format.score_texts(HeadScores([[0.03125]], measure="prefix_matching")) == ["0.031"]
    drops = LayerScores([0.0125], variance=[0.01], n=100, measure="ffn_importance")
    assert number_format.score_texts(drops) == ["0.013 ± 0.010"]
