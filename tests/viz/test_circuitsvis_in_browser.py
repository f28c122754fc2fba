"""Views of attention and tokens in a real browser without a network: as a file, and as a notebook shows them."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from playwright.sync_api import BrowserContext, Page

from headcount import viz
from headcount.results import Patterns

HOSTILE = ["</script>", "<img src=x onerror=top.hit=1>", "\n", "🙂", "שלום", "&lt;", "\u2028"]
VALUES = [1.0, -2.0, 0.0, 0.5, -0.25, 0.125, 1.5]


def attention(*heads: int) -> torch.Tensor:
    length = len(HOSTILE)
    scores = torch.randn(*heads, length, length, generator=torch.Generator().manual_seed(0))
    return scores.masked_fill(torch.ones(length, length).triu(1).bool(), -torch.inf).softmax(-1)


def test_tokens_appear_literally(opened: Callable[[Path], Page], tmp_path: Path) -> None:
    page = opened(viz.tokens(HOSTILE, VALUES).save(tmp_path / "view.html"))
    drawn = page.locator(".colored-tokens > span")
    drawn.first.wait_for()
    shown = [text.replace("\u2060", "").replace("\xa0", " ") for text in drawn.all_text_contents()]
    assert shown == [*HOSTILE[:2], "↵", *HOSTILE[3:6], " "]
    assert page.locator("img").count() == 0
    drawn.nth(1).hover()
    tooltip = page.locator(".colored-tokens > div")
    tooltip.wait_for()
    assert tooltip.text_content().endswith("-2")


def test_a_layer_is_drawn_when_it_is_chosen(opened: Callable[[Path], Page], tmp_path: Path) -> None:
    page = opened(viz.attention(Patterns.of(attention(3, 2), HOSTILE)).save(tmp_path / "view.html"))
    page.locator("h3", has_text="L0H0 Zoomed").wait_for()
    assert page.locator("canvas").count() == 3
    page.get_by_label("Layer").select_option("2")
    page.locator("h3", has_text="L2H0 Zoomed").wait_for()
    assert page.locator("canvas").count() == 3


@pytest.mark.parametrize("as_frame", [True, False])
def test_a_head_is_drawn_from_a_file_and_in_a_notebooks_frame(
    context: BrowserContext, opened: Callable[[Path], Page], tmp_path: Path, as_frame: bool
) -> None:
    requests = []
    context.on("request", lambda request: requests.append(request.url))
    view = viz.attention(Patterns.of(attention(3, 2), HOSTILE), layer=1, head=1)
    path = view.save(tmp_path / "view.html")
    if as_frame:
        path.write_text(f"<!doctype html><html data-ready><meta charset=utf-8>{view._repr_html_()}")
    page = opened(path)
    place = page.frame_locator("iframe") if as_frame else page
    place.locator("canvas").wait_for()
    place.get_by_text("L1H1. Each row is a query").wait_for()
    assert page.evaluate("window.hit") is None
    assert {url.split(":", 1)[0] for url in requests} <= {"file", "data", "blob", "about"}
