"""The attention weights that a page stores: as much as fits, the most important heads first."""

import base64
import json
import re

import numpy as np
import pytest
from support.pages import unpacked
from support.synthetic_runs import attention

from headcount.results import Patterns
from headcount.viz.attention_views import stored_patterns

LAYERS, HEADS, LENGTH = 6, 5, 12
ORDER = np.random.default_rng(0).permutation(LAYERS * HEADS)


def prompts(length: int = LENGTH) -> list[stored_patterns.Prompt]:
    patterns = Patterns.of(attention(LAYERS, HEADS, length), [f"\n{index}" for index in range(length)], "words")
    return stored_patterns.prompts_of({"words": patterns})


def read(text: str) -> tuple[dict, np.ndarray, dict[str, bytes]]:
    """Return the description, the levels of all heads, and each layer's bytes."""
    elements = re.findall(r'<script type="application/gzip" id="([\w-]+)">([^<]*)</script>\n', text)
    data = {name: unpacked(packed) for name, packed in elements}
    about = json.loads(data.pop("patterns"))
    return about, np.frombuffer(base64.b64decode(about["levels"]), np.uint8), data


def test_where_everything_fits_every_head_is_whole() -> None:
    (prompt,) = prompts()
    about, levels, data = read(stored_patterns.elements([prompt], ORDER, 1e9))
    assert (levels == stored_patterns.WHOLE).all()
    assert about["prompts"][0]["tokens"][1] == "↵1"
    for layer in range(LAYERS):
        stored = np.frombuffer(data[f"patterns-0-{layer}"], np.uint8).reshape(HEADS, -1)
        np.testing.assert_array_equal(stored, prompt.weights[layer][:, np.tri(LENGTH, dtype=bool)])


@pytest.mark.parametrize("share", [0.2, 0.5, 0.7, 0.95])
def test_a_smaller_page_stores_the_first_heads_and_never_more_than_fits(share: float) -> None:
    everything = stored_patterns.elements(prompts(), ORDER, 1e9)
    text = stored_patterns.elements(prompts(), ORDER, share * len(everything))
    assert len(text) <= max(share * len(everything), len(stored_patterns.elements(prompts(), ORDER, 0)))
    order = read(text)[1][ORDER]
    firsts = [stored_patterns.WHOLE, stored_patterns.STRONGEST, stored_patterns.NONE]
    assert [firsts.index(level) for level in order] == sorted(firsts.index(level) for level in order)


def test_a_page_that_is_full_has_only_the_description() -> None:
    _, levels, data = read(stored_patterns.elements(prompts(), ORDER, 0))
    assert not levels.any()
    assert data == {}
    assert stored_patterns.elements([], ORDER, 1e9) == ""


def test_the_strongest_keys_of_each_row_are_stored() -> None:
    weights = prompts()[0].weights[0]
    stored = np.frombuffer(stored_patterns.layer_bytes(weights, np.array([0, 2, 1, 0, 0], np.uint8)), np.uint8)
    few = 2 * LENGTH * stored_patterns.KEYS
    assert len(stored) == few + LENGTH * (LENGTH + 1) // 2
    keys, values = stored[:few].reshape(2, LENGTH, stored_patterns.KEYS)
    for query in range(LENGTH):
        np.testing.assert_array_equal(values[query], np.sort(weights[1, query])[::-1][: stored_patterns.KEYS])
        np.testing.assert_array_equal(weights[1, query, keys[query]], values[query])


def test_long_prompts_are_cut_and_short_ones_have_a_sink() -> None:
    (prompt,) = prompts(stored_patterns.LONGEST + 3)
    assert (len(prompt.tokens), prompt.left_out) == (stored_patterns.LONGEST, 3)
    assert prompt.weights.shape[2:] == (stored_patterns.LONGEST, stored_patterns.LONGEST)
    (single,) = prompts(1)
    assert (single.sink == 255).all()
    (prompt,) = prompts()
    np.testing.assert_allclose(prompt.sink / 255, prompt.weights[:, :, 1:, 0].mean(-1) / 255, atol=0.5 / 255)
