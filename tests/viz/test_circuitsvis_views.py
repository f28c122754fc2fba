"""Views of attention and tokens: what they take, what they refuse, and that they need nothing from outside."""

import json
import re

import numpy as np
import pytest
import torch
from support.pages import unpacked

from headcount import viz
from headcount.results import InputError, Patterns
from headcount.viz.embedded_page import EmbeddedPage

TOKENS = ["<s>", "</script>", "\n", "\u2028"]


def attention(*heads: int, length: int = 4) -> torch.Tensor:
    scores = torch.randn(*heads, length, length, generator=torch.Generator().manual_seed(0))
    return scores.masked_fill(torch.ones(length, length).triu(1).bool(), -torch.inf).softmax(-1)


def data(view: EmbeddedPage) -> dict:
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', view.page)[1])


def weights(view: EmbeddedPage, index: int = 0) -> np.ndarray:
    """The triangles of a layer, one row a head."""
    part = re.search(rf'id="layer-{index}">(.*?)</script>', view.page)[1]
    raw = np.frombuffer(unpacked(part), np.uint8)
    return raw.reshape(len(data(view)["heads"]), -1) / 255


@pytest.mark.parametrize("take", [torch.Tensor.float, torch.Tensor.bfloat16, torch.Tensor.half, torch.Tensor.numpy])
def test_weights_of_any_kind_are_in_the_view(take) -> None:
    given = take(attention(1, 2))
    view = viz.attention(given, TOKENS, layer=1, head=1)
    expected = torch.as_tensor(given)[0, 1].float()[*torch.tril_indices(4, 4)]
    np.testing.assert_allclose(weights(view)[0], expected, atol=0.5 / 255 + 1e-6)
    assert (data(view)["layers"], data(view)["heads"]) == ([1], [1])


@pytest.mark.parametrize(
    ("heads", "choice", "layers", "names"),
    [
        ((), {}, [None], [None]),
        ((), {"layer": 7, "head": 3}, [7], [3]),
        ((2,), {}, [None], [0, 1]),
        ((2,), {"layer": 7, "head": 1}, [7], [1]),
        ((1, 2), {"layer": 7}, [7], [0, 1]),
    ],
)
def test_heads_are_named_by_what_is_known_of_them(heads, choice, layers, names) -> None:
    shown = data(viz.attention(attention(*heads), TOKENS, **choice))
    assert (shown["layers"], shown["heads"]) == (layers, names)


@pytest.mark.parametrize(("choice", "names"), [({}, [0, 1]), ({"head": 1}, [1])])
def test_patterns_of_all_layers_are_named(choice, names) -> None:
    shown = data(viz.attention(Patterns.of(attention(3, 2), TOKENS), **choice))
    assert (shown["layers"], shown["heads"]) == ([0, 1, 2], names)


def test_a_batch_is_not_taken_for_layers() -> None:
    batch = attention(3, 2)
    with pytest.raises(InputError, match=r"could be a batch or layers: pass one sequence, weights\[0\]"):
        viz.attention(batch, TOKENS, layer=1)
    np.testing.assert_array_equal(weights(viz.attention(batch[:1], TOKENS)), weights(viz.attention(batch[0], TOKENS)))


def test_every_view_has_both_names_for_writing(tmp_path) -> None:
    for view in (viz.attention(attention(2), TOKENS), viz.heads([[0.5, 0.25]])):
        view.save(tmp_path / "saved.html")
        view.write_html(tmp_path / "written.html")
        assert (tmp_path / "saved.html").stat().st_size > 10_000
        assert (tmp_path / "written.html").stat().st_size > 10_000


def test_patterns_bring_their_tokens() -> None:
    patterns = Patterns.of(attention(3, 2), TOKENS)
    assert data(viz.attention(patterns))["tokens"] == ["<s>", "</script>", "↵", "\u2028"]
    assert viz.attention(patterns, TOKENS, 2).page == viz.attention(patterns, layer=2).page
    with pytest.raises(InputError, match="leave them out"):
        viz.attention(patterns, ["a"] * 4)


@pytest.mark.parametrize(
    ("given", "tokens", "choice", "message"),
    [
        (attention(), None, {}, "tokens with the weights"),
        (attention()[0], TOKENS, {}, r"weights \[query, key\], \[head, query, key\] or .*, got shape \[4\]"),
        (attention(), TOKENS[:3], {}, r"query=3, key=3\], got \[1, 1, 4, 4\]"),
        (attention() * 2, TOKENS, {}, "numbers from 0 to 1, got"),
        (attention() * torch.nan, TOKENS, {}, "numbers from 0 to 1, got nan"),
        (attention().T, TOKENS, {}, "attention to keys after their query"),
        (Patterns.of(attention(3, 2), TOKENS), None, {"layer": 3}, "layer: expected a number from 0 to 2, got 3"),
        (Patterns.of(attention(3, 2), TOKENS), None, {"head": -1}, "head: expected a number from 0 to 1, got -1"),
        ("attention", TOKENS, {}, "patterns: expected real numbers"),
    ],
)
def test_what_is_no_attention_is_refused(given, tokens, choice, message) -> None:
    with pytest.raises(InputError, match=message):
        viz.attention(given, tokens, **choice)


@pytest.mark.parametrize("take", [torch.Tensor.bfloat16, torch.Tensor.half, torch.Tensor.numpy, torch.Tensor.tolist])
def test_tokens_carry_values_of_any_kind(take) -> None:
    shown = data(viz.tokens(TOKENS, take(torch.tensor([0.5, -2.0, 0.0, 1.0]))))
    assert (shown["values"], shown["largest"]) == ([0.5, -2.0, 0.0, 1.0], 2.0)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1, 2], r"values: expected shape \[token=4\], got \[2\]"),
        ([[1, 2, 3, 4]], r"got \[1, 4\]"),
        ([1, 2, float("inf"), 4], r"a finite number for each token, got inf for '\\n'"),
    ],
)
def test_what_are_no_values_of_tokens_is_refused(values, message) -> None:
    with pytest.raises(InputError, match=message):
        viz.tokens(TOKENS, values)


def test_tokens_are_never_markup_and_nothing_is_fetched(tmp_path) -> None:
    for view in (viz.attention(attention(), TOKENS), viz.tokens(TOKENS, [1, 2, 3, 4])):
        assert view.page.count("</script>") == view.page.count("<script")
        assert "unpkg" not in view.page
        assert not re.search(r'(src|href)="', view.page)
        assert '"\\u003c' in view.page
        assert view.page.isascii() or "\u2028" not in view.page
        frame = view._repr_html_()
        assert frame.count("<") == 2
        assert 'sandbox="allow-scripts' in frame
        assert view.save(tmp_path / "new" / "view.html").read_text() == view.page
        assert len(view.page) < 700_000
