"""`HeadScores` and `LayerScores`: what they take, refuse, rank and give back."""

from math import isnan, nan

import hypothesis.extra.numpy as npst
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from headcount.results import HeadScores, InputError, LayerScores

floats = st.floats(-1, 1, width=32) | st.sampled_from([0.0, -0.0, 0.5, nan])
maps = npst.arrays(np.float32, st.tuples(st.integers(1, 5), st.integers(1, 5)), elements=floats)


def scores_with_everything() -> HeadScores:
    generator = torch.Generator().manual_seed(0)
    draw = lambda *shape: torch.rand(*shape, generator=generator)  # noqa: E731
    return HeadScores(
        draw(3, 4),
        variance=draw(3, 4),
        n=100,
        folds=draw(10, 3, 4),
        measure="copying",
        definition="head-output",
        extras={"self_attention": draw(3, 4), "bos_attention": draw(3, 4)},
        provenance={"model": "m", "seed": 0, "versions": {"torch": "2"}, "lengths": [25, 27], "none": None},
    )


@pytest.mark.parametrize(
    "given",
    [
        torch.tensor([[0.5, 1], [2, 3]], dtype=torch.bfloat16, requires_grad=True),
        torch.tensor([[0.5, 2], [1, 3]], dtype=torch.float64).T,
        np.array([[0.5, 1], [2, 3]], dtype=np.float16),
        [[0.5, 1], [2, 3]],
    ],
    ids=["bf16", "transposed", "numpy", "lists"],
)
def test_values_become_a_plain_float32_tensor(given: object) -> None:
    values = HeadScores(given).values
    assert values.dtype == torch.float32
    assert not values.requires_grad
    assert values.is_contiguous()
    assert values.tolist() == [[0.5, 1], [2, 3]]


@pytest.mark.parametrize("given", [torch.zeros(2, 2), np.zeros((2, 2), np.float32)], ids=["torch", "numpy"])
def test_a_callers_array_is_never_shared(given: torch.Tensor | np.ndarray) -> None:
    scores = HeadScores(given, variance=given, folds=given[None], extras={"bos": given})
    given += 1
    held = [scores.values, scores.variance, scores.folds, scores.extras["bos"]]
    assert all(not tensor.any() for tensor in held)


def test_a_callers_dicts_are_never_shared() -> None:
    provenance = {"versions": {"torch": "2"}}
    scores = HeadScores([[1]], provenance=provenance)
    provenance["versions"]["torch"] = "3"
    assert scores.provenance == {"versions": {"torch": "2"}}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"values": torch.zeros(2)}, r"values: expected shape \[layer, head\], got \[2\]"),
        ({"values": torch.zeros(2, 0)}, r"values: expected shape \[layer, head\], got \[2, 0\]"),
        ({"values": [[1, 2], [3]]}, "values: expected real numbers in a rectangular array, got list"),
        ({"values": torch.zeros(1, 1, dtype=torch.complex64)}, "values: expected real numbers"),
        ({"values": np.zeros((1, 1), complex)}, "values: expected real numbers"),
        ({"variance": torch.zeros(3, 2)}, r"variance: expected shape \[layer=2, head=3\], got \[3, 2\]"),
        ({"variance": -torch.ones(2, 3)}, "variance: expected numbers of at least 0, got -1"),
        ({"folds": torch.zeros(2, 3)}, r"folds: expected shape \[fold, layer=2, head=3\], got \[2, 3\]"),
        ({"folds": torch.zeros(0, 2, 3)}, r"folds: expected shape \[fold, layer=2, head=3\], got \[0, 2, 3\]"),
        ({"extras": {"bos": torch.zeros(6)}}, r"extras\['bos'\]: expected shape \[layer=2, head=3\], got \[6\]"),
        ({"extras": {"value": torch.zeros(2, 3)}}, "extras: expected a name other than .*, got 'value'"),
        ({"n": 0}, "n: expected a whole number of at least 1, got 0"),
        ({"n": True}, "n: expected a whole number of at least 1, got True"),
        ({"n": 2.0}, "n: expected a whole number of at least 1, got 2.0"),
        ({"provenance": {"when": nan}}, "provenance: expected what JSON can hold"),
        ({"provenance": {"how": object()}}, "provenance: expected what JSON can hold"),
        ({"provenance": {"a": [{1: "one"}]}}, "provenance: expected strings as keys, got 1"),
        ({"provenance": None}, "provenance: expected a dict, got NoneType"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_was_expected(arguments: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        HeadScores(**({"values": torch.zeros(2, 3)} | arguments))


def test_layer_scores_are_one_value_a_layer() -> None:
    scores = LayerScores([0.1, nan, 0.3], variance=[1, 1, 4], n=4)
    assert scores.top(5) == [(2, pytest.approx(0.3)), (0, pytest.approx(0.1))]
    assert scores.ranking().tolist() == [0, 2, 1]
    assert scores.stderr.tolist() == [0.5, 0.5, 1.0]
    assert list(scores.to_frame()) == ["layer", "value", "variance", "stderr", "n"]
    with pytest.raises(InputError, match=r"values: expected shape \[layer\], got \[1, 1\]"):
        LayerScores([[1]])


def test_top_orders_ties_by_position_and_leaves_out_what_was_not_measured() -> None:
    scores = HeadScores([[0.5, nan, 0.75], [0.75, -0.0, 0.0]])
    assert scores.top(3) == [(0, 2, 0.75), (1, 0, 0.75), (0, 0, 0.5)]
    assert scores.top(99) == [(0, 2, 0.75), (1, 0, 0.75), (0, 0, 0.5), (1, 1, 0.0), (1, 2, 0.0)]
    assert scores.top(0) == []
    assert HeadScores([[nan]]).top(1) == []
    with pytest.raises(InputError, match=r"top: expected a count of at least 0, got -1"):
        scores.top(-1)


@settings(deadline=None)
@given(maps)
def test_ranking_equals_a_stable_sort_in_plain_python(values: np.ndarray) -> None:
    flat = values.flatten().tolist()
    order = sorted(range(len(flat)), key=lambda index: (isnan(flat[index]), 0 if isnan(flat[index]) else flat[index]))
    ranking = HeadScores(values).ranking()
    assert ranking.dtype == torch.int64
    assert ranking.tolist() == order


@settings(deadline=None)
@given(maps, st.integers(0, 30))
def test_top_equals_a_stable_sort_in_plain_python(values: np.ndarray, k: int) -> None:
    n_heads = values.shape[1]
    rows = [(*divmod(index, n_heads), value) for index, value in enumerate(values.flatten().tolist())]
    expected = sorted((row for row in rows if not isnan(row[2])), key=lambda row: (-row[2], row[0], row[1]))
    assert HeadScores(values).top(k) == expected[:k]


@settings(deadline=None)
@given(st.permutations(range(12)))
def test_permuting_heads_permutes_the_ranking(order: list[int]) -> None:
    values = torch.arange(12.0).sqrt()
    ranking = HeadScores(values[order].view(3, 4)).ranking()
    assert torch.tensor(order)[ranking].tolist() == list(range(12))


def test_stderr_is_that_of_a_mean() -> None:
    samples = torch.rand(50, 2, 3, generator=torch.Generator().manual_seed(0))
    scores = HeadScores(samples.mean(0), variance=samples.var(0), n=50)
    torch.testing.assert_close(scores.stderr, samples.std(0) / 50**0.5)
    assert HeadScores([[1]]).stderr is None


def test_frame_has_one_row_a_head() -> None:
    scores = scores_with_everything()
    frame = scores.to_frame()
    assert list(frame) == ["layer", "head", "value", "variance", "stderr", "n", "self_attention", "bos_attention"]
    row = frame[(frame["layer"] == 2) & (frame["head"] == 1)].iloc[0]
    assert len(frame) == 12
    assert row["value"] == scores.values[2, 1]
    assert row["stderr"] == scores.stderr[2, 1]
    assert row["bos_attention"] == scores.extras["bos_attention"][2, 1]
    frame["value"] = 0.0
    assert scores.values.all(), "the frame must not share memory with the scores"


def test_frame_without_variance_says_nan() -> None:
    frame = HeadScores([[1, 2]]).to_frame()
    assert frame[["variance", "stderr"]].isna().all(axis=None)
    assert frame["n"].tolist() == [1, 1]


def test_labels_are_the_fields_notation() -> None:
    assert HeadScores([[1]]).label(18, 6) == "L18H6"
    assert LayerScores([1]).label(3) == "L3"


def test_repr_is_a_short_line() -> None:
    scores = HeadScores([[0.25, nan], [0.75, 0.5]], n=100, measure="copying", definition="head-output")
    assert repr(scores) == "HeadScores(copying (head-output), n = 100, 2 layers × 2 heads, highest L1H0 0.750)"
    assert repr(LayerScores([nan])) == "LayerScores(scores, n = 1, 1 layers)"


def test_notebook_table_shows_the_highest_heads_and_escapes_names() -> None:
    values = torch.arange(20.0).view(4, 5)
    html = HeadScores(values, variance=values, n=4, measure="<img onerror=x>", definition="</script>")._repr_html_()
    assert "&lt;img onerror=x&gt; (&lt;/script&gt;), n = 4: the highest 5 of 20" in html
    assert "<img" not in html
    assert html.count("<tr>") == 6
    assert "<td>L3H4</td><td>19.0000</td><td>2.2</td>" in html
    assert "standard error" not in HeadScores(values)._repr_html_()


def test_equal_scores_are_ordered_by_the_drop_of_log_probability() -> None:
    scores = LayerScores([0.1, 0.0, 0.0, 0.1, 0.0], extras={"log_p": [0.5, 0.3, -0.2, 0.9, 0.3]})
    assert scores.ranking().tolist() == [2, 1, 4, 0, 3]
    assert [layer for layer, _ in scores.top(5)] == [3, 0, 1, 4, 2]
    assert LayerScores([0.0, torch.nan, 0.0], extras={"log_p": [1.0, 5.0, 0.0]}).ranking().tolist() == [2, 0, 1]
    assert LayerScores([0.1, 0.0, 0.0]).ranking().tolist() == [1, 2, 0]


def test_the_range_of_lengths_stands_beside_n() -> None:
    one = HeadScores([[0.5]], n=20, measure="copying", provenance={"n_tokens": [101, 893]})
    assert "copying, n = 20, 101 to 893 tokens" in repr(one)
    assert HeadScores([[0.5]], provenance={"n_tokens": 101}).length_range == ""
    assert HeadScores([[0.5]], provenance={"n_tokens": ["a", 3]}).length_range == ""


def test_scores_by_length_need_their_lengths() -> None:
    scores = HeadScores([[0.5, 0.25]], by_length=[[[0.6, 0.2]], [[0.4, 0.3]]], lengths=[101, 893])
    assert scores.by_length.shape == (2, 1, 2)
    with pytest.raises(InputError, match="expected by_length and lengths together"):
        HeadScores([[0.5]], by_length=[[[0.5]]])
    with pytest.raises(InputError, match=r"lengths: expected shape \[length=2\]"):
        HeadScores([[0.5]], by_length=[[[0.5]], [[0.5]]], lengths=[1.0])
