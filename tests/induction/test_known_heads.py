"""The heads of the default model that are known: the atlas finds each at the top of its score."""

import pytest

from headcount.induction import head_atlas, repeated_tokens
from headcount.induction.tokens.texts import read_texts, text_rows
from headcount.tracing import load_model


@pytest.fixture(scope="module")
def atlas():
    model = load_model("smollm2-135m")
    text = text_rows(model, read_texts())[:2]
    return head_atlas(model, sequences=repeated_tokens(model, 25, 2), text=text, control=False, examples=False)


@pytest.mark.parametrize(
    ("score", "heads"),
    [
        ("previous_token", {"L16H0", "L11H1"}),
        ("duplicate_token", {"L14H3", "L8H0"}),
        ("self_attention", {"L29H1"}),
        ("first_token", {"L18H8"}),
        ("induction", {"L18H6"}),
        ("on_text.previous_token", {"L16H0"}),
    ],
)
def test_the_highest_heads_are_the_known_ones(atlas, score, heads):
    part = atlas.on_text[score.removeprefix("on_text.")] if score.startswith("on_text.") else getattr(atlas, score)
    assert {part.label(layer, head) for layer, head, _ in part.top(len(heads))} == heads
