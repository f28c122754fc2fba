"""Numbers as the report writes them."""

from math import inf, nan

import pytest

from headcount.results import HeadScores, LayerScores
from headcount.viz import number_format


@pytest.mark.parametrize(
    ("value", "stderr", "text"),
    [
        (0.469, 0.0221, "0.469 ± 0.022"),
        (0.92143, 0.00417, "0.9214 ± 0.0042"),
        (0.92143, 0.000417, "0.92143 ± 0.00042"),
        (0.5, 4.17e-9, "0.500000 ± 4.2e-9"),
        (0.95, 0.0499, "0.950 ± 0.050"),
        (0.95, 0.0999, "0.95 ± 0.10"),
        (-312.4, 12.34, "-312 ± 12"),
        (-2530.4, 123.4, "-2530 ± 120"),
        (10.5, 0.2, "10.50 ± 0.20"),
        (0.5, 0.0, "0.500 ± 0"),
        (0.5, nan, "0.500"),
        (0.5, inf, "0.500 ± inf"),
        (nan, 0.1, "n/a"),
        (-1e-9, 0.01, "0.000 ± 0.010"),
    ],
)
def test_an_error_has_two_digits_and_the_value_as_many_places(value: float, stderr: float, text: str) -> None:
    assert number_format.with_error(value, stderr) == text


def test_an_error_of_two_values_is_not_shown() -> None:
    values, variance = [[0.5, 0.25]], [[0.02, 0.0]]
    assert number_format.score_texts(HeadScores(values, variance, n=2)) == ["0.500", "0.250"]
    assert number_format.score_texts(HeadScores(values, variance, n=3)) == ["0.500 ± 0.082", "0.250 ± 0"]


@pytest.mark.parametrize(
    ("value", "stderr", "text"),
    [
        (3.1234e-5, nan, "3.12e-5"),
        (3.1234e-5, 4.1e-6, "3.12e-5 ± 0.41e-5"),
        (1e-7, 1e-5, "0.0e-5 ± 1.0e-5"),
        (-2e-4, 1e-4, "-2.0e-4 ± 1.0e-4"),
        (9.999e-5, nan, "1.00e-4"),
        (0.0, nan, "0.000"),
        (0.0, 0.0, "0.000 ± 0"),
        (-1e-9, 1e-3, "0.0e-3 ± 1.0e-3"),
        (nan, 0.1, "n/a"),
        (inf, 0.1, "inf"),
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
