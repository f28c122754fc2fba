"""What a person sees of a page: its words, and what it says where the mouse is."""

import re
from html import unescape
from pathlib import Path

from playwright.sync_api import Page


def text_of(source: str | Path) -> str:
    """The words of a page, or of a part of its source, without tags, scripts, styles and line breaks."""
    source = source.read_text() if isinstance(source, Path) else source
    page = re.sub(r"<(script|style).*?</\1>", " ", source, flags=re.DOTALL)
    page = re.sub(r"<[^>]*>", "", page.replace("</t", " </t"))  # cells stand apart, words in bold do not
    return re.sub(r"\s+", " ", unescape(page))


def click_cell(page: Page, plot: str, layer: int, head: int) -> None:
    """Clicks on a head in a map."""
    page.mouse.click(*_place(page, plot, layer, head))


def _place(page: Page, plot: str, layer: int, head: int) -> list[float]:
    """Where a head is on the screen, once its map is in view."""
    element = page.locator(plot)
    element.evaluate("plot => plot.scrollIntoView({ behavior: 'instant', block: 'center' })")
    place: list[float] = element.evaluate(
        """(plot, [layer, head]) => {
            const { left, top } = plot.getBoundingClientRect();
            const { _size: size, xaxis, yaxis } = plot._fullLayout;
            return [left + size.l + xaxis.l2p(head), top + size.t + yaxis.l2p(layer)];
        }""",
        [layer, head],
    )
    return place


def hover(page: Page, figure: str, layer: int, head: int) -> str:
    """Moves the mouse to a head and returns what the map says, one line a line."""
    plot = page.locator(f"[data-figure={figure}]")
    x, y = _place(page, f"[data-figure={figure}]", layer, head)
    page.mouse.move(x - 2, y - 2)
    page.mouse.move(x, y)
    label = plot.locator(".hoverlayer .hovertext", has_text=f"L{layer}H{head}:")
    label.wait_for()  # the label of the head before goes a moment after the mouse
    return "\n".join(label.locator("tspan.line").all_text_contents())
