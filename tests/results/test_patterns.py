"""Attention patterns: within a level of what a model gave, the same back from a file, and no others."""

from pathlib import Path

import numpy as np
import pytest
import torch

from headcount.results import InputError, Patterns, create_run, open_run

TOKENS = ("</script>", "\n", "名前", "🙂")


def attention(n_layers: int = 2, n_heads: int = 3, length: int = 4) -> torch.Tensor:
    scores = torch.randn(n_layers, n_heads, length, length, generator=torch.Generator().manual_seed(0))
    return scores.masked_fill(torch.ones(length, length).triu(1).bool(), -torch.inf).softmax(-1)


@pytest.mark.parametrize("take", [torch.Tensor.float, torch.Tensor.bfloat16, torch.Tensor.half, torch.Tensor.numpy])
def test_no_weight_is_off_by_more_than_half_a_level(take) -> None:
    given = take(attention())
    patterns = Patterns.of(given, list(TOKENS))
    assert patterns.weights.dtype == torch.uint8
    for layer, head in ((0, 0), (1, 2)):
        expected = torch.as_tensor(given)[layer, head].float()
        assert (patterns.values(layer, head) - expected).abs().max() <= 0.5 / 255 + 1e-6


def test_a_file_gives_the_same_back_and_a_run_finds_it(tmp_path: Path) -> None:
    patterns = Patterns.of(attention(), TOKENS, "words", {"seed": 1})
    create_run(tmp_path / "run", model={"name": "m"}).save("attention/words", patterns)
    back = open_run(tmp_path / "run")["attention/words"]
    assert isinstance(back, Patterns)
    assert torch.equal(back.weights, patterns.weights)
    assert (back.tokens, back.definition, back.provenance) == (TOKENS, "words", {"seed": 1})
    assert repr(back) == "Patterns(words, 4 tokens, 2 × 3 heads)"


def test_nothing_is_shared_with_the_caller() -> None:
    weights = torch.zeros(1, 1, 2, 2, dtype=torch.uint8)
    patterns = Patterns(weights, ["a", "b"])
    weights += 1
    assert not patterns.weights.any()


@pytest.mark.parametrize(
    ("values", "tokens", "message"),
    [
        (np.zeros((2, 2)), ["a", "b"], r"shape \[layer, head, query=2, key=2\], got \[2, 2\]"),
        (np.zeros((1, 1, 2, 2)), ["a"], r"query=1, key=1\], got \[1, 1, 2, 2\]"),
        (np.full((1, 1, 1, 1), np.nan), ["a"], "from 0 to 1, got nan"),
        (np.full((1, 1, 1, 1), 1.1), ["a"], "from 0 to 1, got 1.1"),
        (np.full((1, 1, 1, 1), -0.1), ["a"], "from 0 to 1, got -0.1"),
        (np.full((1, 1, 2, 2), 0.5), ["a", "b"], "attention to keys after their query"),
        (np.zeros((1, 1, 2, 2)), "ab", "tokens: expected a list of texts, got 'ab'"),
        (np.zeros((1, 1, 1, 1)), [7], r"tokens: expected a list of texts, got \[7\]"),
    ],
)
def test_what_is_no_pattern_is_refused(values, tokens, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Patterns.of(values, tokens)


def test_weights_are_levels() -> None:
    with pytest.raises(InputError, match=r"whole numbers, uint8, got torch.float32; see Patterns.of"):
        Patterns(torch.zeros(1, 1, 1, 1), ["a"])
    with pytest.raises(InputError, match="attention to keys after their query"):
        Patterns(torch.ones(1, 1, 2, 2, dtype=torch.uint8), ["a", "b"])


@pytest.mark.parametrize("place", [(2, 0), (0, 3), (-1, 0)])
def test_a_head_that_is_not_there_is_said(place: tuple[int, int]) -> None:
    with pytest.raises(InputError, match="a layer from 0 to 1 and a head from 0 to 2"):
        Patterns.of(attention(), TOKENS).values(*place)
