"""The card of one head: its data, its words, and hostile tokens."""

from collections.abc import Callable
from dataclasses import replace
from math import nan
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
import pytest
import torch
from playwright.sync_api import BrowserContext, Page

from headcount import viz
from headcount.results import HeadProfile, HeadScores, InputError, Standing
from headcount.viz.style.literal_text import literal, token
from headcount.viz.style.theme import THEMES

HOSTILE = [
    "</script>",
    "<img src=x onerror=window.hit=1>",
    "<b>",
    "\n",
    "🙂",
    "שלום",
    "a\u202eb",
    "&amp;",
    "$x$",
    '"%{x}"',
]
SHOWN = ["</script>", "<img·src=x·on…", "<b>", r"\n", "🙂", "\u2068שלום\u2069", r"a\u202eb", "&amp;", "$x$", '"%{x}"']


def profile(tokens: list[str], **changes: object) -> HeadProfile:
    """A head that attends half to position 0 and half to itself."""
    n = len(tokens)
    pattern = 0.5 * torch.eye(n)
    pattern[:, 0] += 0.5
    fields = {
        "layer": 18,
        "head": 6,
        "text": "".join(tokens),
        "tokens": tokens,
        "pattern": pattern,
        "by_lag": [0.5, *[0.0] * (n - 2), nan],
        "sink": 0.5,
        "entropy": [0.0, *[0.6931] * (n - 1)],
        "relative_entropy": [nan, *[0.6931 / np.log(keys) for keys in range(2, n + 1)]],
        "sources": tokens,
        "raised": [["x", " y", "z", "w"]] * n,
        "raised_logits": [[4, 3, 2, 1]] * n,
        "lowered": [["<p>"]] * n,
        "lowered_logits": [[-4.25]] * n,
        "own_logit": [1.5] * n,
        "own_rank": [*range(18, 18 + n)],
        "vocab": 5000,
        "standings": {
            "prefix_matching": Standing(0.921, 0.004, 1, 270, 100, "successor"),
            "copying": Standing(0.1, nan, 40, 270, 100, "head-output"),
            "head_importance": Standing(3.12e-5, nan, 2, 270, 9, "token"),
            "mine": Standing(nan, nan, None, 270, 9, ""),
        },
        "provenance": {"model": "<b>evil</b>"},
    }
    return HeadProfile(**(fields | changes))


WORDS = ["When", " Mary", " and", " John", " went"]


def test_the_title_is_the_heads_name_and_its_ranks_are_in_words() -> None:
    title = viz.head(profile(WORDS)).layout.title
    assert title.text == "L18H6"
    assert title.subtitle.text.split("<br>") == [
        "layer 18, head 6 of &lt;b&gt;evil&lt;/b&gt;",
        "Prefix matching 0.9210 ± 0.0040: the highest of 270 heads",
        "Copying 0.100: rank 40 of 270 heads",
        "Head importance 3.12e-5: rank 2 of 270 heads",
        "Mine: not measured",
        "50 % of attention is on the first token; apart from that it attends most to the token itself: 0.50 on average",
        "on the embeddings, attending to a token puts that token at rank 20 of 5000 (median)",
    ]


def test_attention_is_the_pattern_with_nothing_above_the_diagonal() -> None:
    figure = viz.head(card := profile(WORDS))
    heat = figure.data[0]
    below = np.tril(np.ones((5, 5), bool))
    np.testing.assert_array_equal(heat.z[below], card.pattern.numpy()[below])
    assert np.isnan(heat.z[~below]).all()
    assert (heat.zmin, heat.zmax) == (0, 1)
    assert heat.hovertext[3][0] == "·John (3) to When (0)<br>attention 0.500"
    assert set(np.array(heat.hovertext)[~below]) == {""}
    assert figure.layout.xaxis.ticktext == figure.layout.yaxis.ticktext == ("When", "·Mary", "·and", "·John", "·went")
    assert figure.layout.yaxis.range == (4.5, -0.5)


def test_distances_and_entropy_are_beside_it() -> None:
    _, lags, entropy, _ = viz.head(card := profile(WORDS)).data
    np.testing.assert_array_equal(lags.y, card.by_lag)
    np.testing.assert_array_equal(entropy.y, card.relative_entropy)
    assert lags.hovertext[1] == "1 token back: 0.000<br>mean over 3 queries"
    assert entropy.hovertext[2] == "·and (2)<br>0.69 nats, 0.63 of the maximum"


def test_the_table_has_the_tokens_raised_and_lowered() -> None:
    table = viz.head(profile(WORDS)).data[3]
    assert table.header.values == ("attending to", "raises most", "lowers most", "and that token itself")
    assert [column[1] for column in table.cells.values] == [
        "·Mary",
        "x&nbsp;+4.0&nbsp; ·y&nbsp;+3.0&nbsp; z&nbsp;+2.0",
        "&lt;p&gt;&nbsp;-4.2",
        "rank 19 of 5000 (+1.5)",
    ]


def test_long_texts_have_as_many_labels_as_fit() -> None:
    figure = viz.head(profile([f"w{number}" for number in range(200)]))
    assert len(figure.layout.xaxis.ticktext) <= 640 / 13
    assert figure.layout.xaxis.ticktext[1] == f"w{figure.layout.xaxis.tickvals[1]}"
    assert figure.data[0].hovertext is None
    assert "%{z:.3f}" in figure.data[0].hovertemplate
    assert len(figure.to_json()) < 500_000


def test_a_single_token_has_a_card() -> None:
    single = profile(["a"], by_lag=[nan], sink=nan, standings={}, provenance={})
    assert viz.head(single).layout.title.subtitle.text.startswith("layer 18, head 6<br>on the embeddings")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_themes(theme: str) -> None:
    figure = viz.head(profile(WORDS), theme=theme)
    colours = THEMES[theme]
    assert figure.layout.template.layout.paper_bgcolor == colours.background
    assert figure.data[3].cells.fill.color == colours.background
    assert figure.data[1].marker.color == colours.accent


def test_bad_input_is_refused_in_words() -> None:
    with pytest.raises(InputError, match="expected a HeadProfile, as head_profile gives it, got HeadScores"):
        viz.head(HeadScores([[1.0]]))
    with pytest.raises(InputError, match="theme"):
        viz.head(profile(WORDS), theme="red")


def test_the_profile_stays_as_it_was() -> None:
    card = profile(WORDS)
    before = card.pattern.clone()
    assert isinstance(viz.head(card), go.Figure)
    assert torch.equal(card.pattern, before)


def test_texts_are_literal() -> None:
    assert literal("a <b> & $x$") == "a &lt;b&gt; &amp; &#36;x&#36;"
    assert literal("\t\x00\u200b") == r"\t\x00\u200b"
    assert literal("👩\u200d🚀") == "👩\u200d🚀"
    assert token(" a b", 14) == "·a·b"
    assert token("x" * 20, 5) == "xxxx…"


@pytest.fixture
def screen(context: BrowserContext, tmp_path: Path) -> Callable[[go.Figure], Page]:
    """Return a function that opens a figure alone in the browser; any error there fails the test."""

    def open_figure(figure: go.Figure) -> Page:
        figure.write_html(tmp_path / "figure.html", include_plotlyjs=True)
        page = context.new_page()
        page.on("console", lambda message: pytest.fail(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: pytest.fail(str(error)))
        page.goto((tmp_path / "figure.html").as_uri())
        page.wait_for_selector(".table .cell-text", state="attached")
        return page

    return open_figure


def test_hostile_tokens_appear_as_they_are_and_no_figure_offers_to_be_uploaded(
    screen: Callable[[go.Figure], Page],
) -> None:
    figure = viz.head(replace(profile(HOSTILE), provenance={"model": "</script><script>window.hit=1</script>"}))
    page = screen(figure)
    across = page.locator(".xaxislayer-above .xtick text").all_text_contents()
    assert across == SHOWN
    cells = page.locator(".table .column-block .cell-text").all_text_contents()
    assert set(SHOWN) <= set(cells)
    assert page.evaluate("window.hit") is None
    buttons = page.locator(".modebar-btn").evaluate_all("buttons => buttons.map((button) => button.dataset.title)")
    assert any("Download" in title for title in buttons)
    assert not any("Share" in title for title in buttons)
    assert "</script><script>window.hit=1</script>" in page.locator(".gtitle-subtitle").text_content()
