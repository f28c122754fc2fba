"""Pages as a person sees them: their words, and the hover text at the mouse."""

import gzip
import re
import time
from collections.abc import Sequence
from html import unescape
from pathlib import Path

import numpy as np
from playwright.sync_api import Page


def text_of(source: str | Path) -> str:
    """Return the words of a page, or of a part of its source, without tags, scripts, styles and line breaks."""
    source = source.read_text() if isinstance(source, Path) else source
    page = re.sub(r"<(script|style).*?</\1>", " ", source, flags=re.DOTALL)
    page = re.sub(r"<[^>]*>", "", page.replace("</t", " </t"))  # cells stand apart, words in bold do not
    return re.sub(r"\s+", " ", unescape(page))


def unpacked(text: str) -> bytes:
    """The bytes of a packed element: two of 91 signs for every 13 bits, then gzip."""
    signs = [" ", "\t", *(sign for sign in map(chr, range(33, 127)) if sign not in "&<>\"'")]
    places = np.full(128, 91, np.int64)
    places[[ord(sign) for sign in signs]] = range(91)
    found = places[np.frombuffer(text.encode("ascii"), np.uint8)]
    assert found.max() < 91
    numbers = 91 * found[: len(found) // 2 * 2 : 2] + found[1::2]
    bits = (numbers[:, None] >> np.arange(12, -1, -1) & 1).astype(np.uint8).ravel()
    data = np.packbits(bits[: len(bits) // 8 * 8]).tobytes()
    return gzip.decompress(data[:-1] if len(text) % 2 else data)


def stored_numbers(source: str, place: Sequence[int]) -> np.ndarray:
    """The numbers of one map in a page's block of numbers, given the place of the first and their count."""
    block = unpacked(re.search(r'id="numbers">(.*?)</script>', source)[1])
    planes = np.frombuffer(block, np.uint8).reshape(4, -1)
    first, count = place
    return np.ascontiguousarray(planes.T).view("<f4").ravel()[first : first + count]


def click_cell(page: Page, plot: str, layer: int, head: int) -> None:
    """Click on a head in a map."""
    page.mouse.click(*_place(page, plot, layer, head))


def _place(page: Page, plot: str, layer: int, head: int) -> list[float]:
    """Return the position of a head on the screen, after scrolling its map into view, where it is drawn."""
    element = page.locator(plot).last  # a map of the first screens is in the appendix, too
    element.evaluate(
        """plot => {
            dispatchEvent(new Event("wheel"));  // a person scrolls: no link holds the page any more
            plot.scrollIntoView({ behavior: "instant", block: "center" });
        }"""
    )
    page.wait_for_function("plot => plot._fullLayout && !pending.has(plot)", arg=element.element_handle())
    page.wait_for_timeout(50)
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
    plot = page.locator(f"[data-figure={figure}]").last
    x, y = _place(page, f"[data-figure={figure}]", layer, head)
    page.mouse.move(x - 2, y - 2)
    page.mouse.move(x, y)
    label = plot.locator(".hoverlayer .hovertext", has_text=f"L{layer}H{head}:")
    label.wait_for()  # the label of the head before goes a moment after the mouse
    return "\n".join(label.locator("tspan.line").all_text_contents())


def wait_until(page: Page, condition: str, seconds: float = 60) -> None:
    """Wait until a condition in JavaScript holds.

    Playwright's `wait_for_function` evaluates text in the page when it asks again, which the page's policy refuses.
    """
    end = time.monotonic() + seconds
    while not page.evaluate(condition):
        assert time.monotonic() < end, condition
        page.wait_for_timeout(50)
