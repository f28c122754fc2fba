"""Pages as a person sees them: their words, and the hover text at the mouse."""

import re
from html import unescape
from pathlib import Path

from playwright.sync_api import Page


def text_of(source: str | Path) -> str:
    """Return the words of a page, or of a part of its source, without tags, scripts, styles and line breaks."""
    source = source.read_text() if isinstance(source, Path) else source
    page = re.sub(r"<(script|style).*?</\1>", " ", source, flags=re.DOTALL)
    page = re.sub(r"<[^>]*>", "", page.replace("</t", " </t"))  # cells stand apart, words in bold do not
    return re.sub(r"\s+", " ", unescape(page))


def click_cell(page: Page, plot: str, layer: int, head: int) -> None:
    """Click on a head in a map."""
    page.mouse.click(*_place(page, plot, layer, head))


def _place(page: Page, plot: str, layer: int, head: int) -> list[float]:
    """Return the position of a head on the screen, after scrolling its map into view."""
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
    """Move the mouse to a head and return its hover text, with line breaks."""
    plot = page.locator(f"[data-figure={figure}]")
    x, y = _place(page, f"[data-figure={figure}]", layer, head)
    page.mouse.move(x - 2, y - 2)
    page.mouse.move(x, y)
    label = plot.locator(".hoverlayer .hovertext", has_text=f"L{layer}H{head}:")
    label.wait_for()  # the label of the head before goes a moment after the mouse
    return "\n".join(label.locator("tspan.line").all_text_contents())
