"""The report in a real browser, opened from a file without a network."""

import os
import shutil
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

import viz
from results import Run
from viz import tables
from viz.theme import DARK, LIGHT

READY = 30_000  # milliseconds; far more than a quiet machine needs


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, without which these tests are skipped, but not where all checks must run."""
    path = shutil.which("chromium")
    if path is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("chromium is not installed: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def report(small_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return viz.report(small_run, tmp_path_factory.mktemp("report") / "report.html")


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context(viewport={"width": 1280, "height": 1000}, offline=True, color_scheme="light")
    yield context
    context.close()


@pytest.fixture
def opened(context: BrowserContext) -> Callable[[Path], Page]:
    """Opens a report and waits for its figures; anything that goes wrong in the page fails the test."""

    def open_page(path: Path) -> Page:
        page = context.new_page()
        page.on("console", lambda message: pytest.fail(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: pytest.fail(str(error)))
        page.on("dialog", lambda dialog: pytest.fail(dialog.message))
        page.goto(path.as_uri())
        page.wait_for_selector("[data-ready]", state="attached", timeout=READY)
        return page

    return open_page


def colour(css: str) -> str:
    """`rgb(20, 23, 27)` as `#14171b`."""
    return "#" + bytes(int(part) for part in css.removeprefix("rgb(").removesuffix(")").split(",")).hex()


def hover(page: Page, figure: str, layer: int, head: int) -> str:
    """Moves the mouse to a head and returns what the map says, one line a line."""
    plot = page.locator(f"[data-figure={figure}]")
    plot.evaluate("plot => plot.scrollIntoView({ behavior: 'instant', block: 'center' })")
    x, y = plot.evaluate(
        """(plot, [layer, head]) => {
            const { left, top } = plot.getBoundingClientRect();
            const { _size: size, xaxis, yaxis } = plot._fullLayout;
            return [left + size.l + xaxis.l2p(head), top + size.t + yaxis.l2p(layer)];
        }""",
        [layer, head],
    )
    page.mouse.move(x - 2, y - 2)
    page.mouse.move(x, y)
    label = plot.locator(".hoverlayer .hovertext", has_text=f"L{layer}H{head}:")
    label.wait_for()  # the label of the head before goes a moment after the mouse
    return "\n".join(label.locator("tspan.line").all_text_contents())


def test_nothing_is_requested_but_the_file(
    context: BrowserContext, opened: Callable[[Path], Page], report: Path
) -> None:
    asked = []
    context.on("request", lambda request: asked.append(request.url))
    opened(report)
    assert asked[0] == report.as_uri()
    assert {url.split(":", 1)[0] for url in asked} <= {"file", "data", "blob"}


def test_all_figures_are_drawn(opened: Callable[[Path], Page], report: Path) -> None:
    page = opened(report)
    assert page.locator(".plot .main-svg").first.is_visible()
    assert page.locator("[data-figure] .heatmaplayer image").count() == 3
    assert page.locator("[data-figure=repeat_loss] .scatterlayer .point").count() == 4
    assert "needs JavaScript" not in page.locator("main").inner_text()


def test_hovering_says_what_python_says(opened: Callable[[Path], Page], small_run: Run, report: Path) -> None:
    page = opened(report)
    for measure, place in {"prefix_matching": (2, 1), "copying": (29, 8), "copying_published": (0, 0)}.items():
        expected = viz.heads(small_run[f"induction/{measure}"]).data[0].hovertext[place[0]][place[1]]
        plain = expected.replace("<br>", "\n").replace("<b>", "").replace("</b>", "")
        assert hover(page, measure, *place) == plain


def test_the_table_is_pythons_and_sorts(opened: Callable[[Path], Page], small_run: Run, report: Path) -> None:
    page = opened(report)
    maps = {name: small_run[f"induction/{name}"] for name in ("prefix_matching", "copying", "copying_published")}
    expected = [[cell.text for cell in row] for row in tables.head_rows(maps)]
    rows = page.locator("table.sortable tbody tr")
    shown = lambda: [row.locator("th, td").all_inner_texts() for row in rows.all()]  # noqa: E731
    assert shown() == expected

    copying = page.get_by_role("columnheader", name="Copying", exact=True)
    copying.get_by_role("button").press("Enter")
    assert copying.get_attribute("aria-sort") == "descending"
    assert shown()[0][0] == "L1H0"
    assert shown() == sorted(expected, key=lambda row: int(row[4]))
    copying.get_by_role("button").press("Enter")
    assert shown() == sorted(expected, key=lambda row: -int(row[4]))

    page.get_by_role("columnheader", name="head", exact=True).get_by_role("button").click()
    assert shown() == sorted(expected, key=lambda row: [int(part) for part in row[0][1:].split("H")])
    assert page.locator("[aria-sort]").count() == 1


def test_light_and_dark_follow_the_system(opened: Callable[[Path], Page], report: Path) -> None:
    page = opened(report)

    def settled() -> tuple[str, set[str]]:
        """The colour of the page and those of the text in all figures, once they have been drawn anew."""
        page.evaluate("new Promise((done) => requestAnimationFrame(() => setTimeout(done, 300)))")
        body = page.locator("body").evaluate("body => getComputedStyle(body).backgroundColor")
        inks = "plots => plots.map((plot) => getComputedStyle(plot.querySelector('.xtick text')).fill)"
        return colour(body), {colour(ink) for ink in page.locator("[data-figure]").evaluate_all(inks)}

    assert settled() == (LIGHT.background, {LIGHT.ink})
    page.emulate_media(color_scheme="dark")
    assert settled() == (DARK.background, {DARK.ink})
    page.emulate_media(color_scheme="dark", media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert settled() == (LIGHT.background, {LIGHT.ink})


def test_names_appear_literally(opened: Callable[[Path], Page], hostile_run: Run, tmp_path: Path) -> None:
    name = hostile_run.manifest["model"]["name"]
    page = opened(viz.report(hostile_run, tmp_path / "report.html"))
    assert page.title() == f"Induction heads of {name}"
    assert page.locator("h1").text_content() == f"Induction heads of {name}"
    assert page.locator("#provenance td", has_text=name).count() >= 3
    assert page.evaluate("window.hit") is None
    assert page.locator("img").count() == 0
    assert name.capitalize() + ": 0.500" in hover(page, "prefix_matching", 0, 0).splitlines()
    assert hover(page, "prefix_matching", 0, 1).splitlines()[2] == "n/a (n = 1)"


def test_nothing_leaves_for_the_cloud(opened: Callable[[Path], Page], report: Path) -> None:
    page = opened(report)
    titles = page.locator(".modebar-btn").evaluate_all("buttons => buttons.map((button) => button.dataset.title)")
    assert len(titles) == 8
    assert not [title for title in titles if "loud" in title or "hare" in title or "Plotly" in title]


def test_focus_is_visible_and_starts_with_the_skip_link(opened: Callable[[Path], Page], report: Path) -> None:
    page = opened(report)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.getAttribute('href')") == "#summary"
    assert page.evaluate("document.activeElement.getBoundingClientRect().left") >= 0
    for _ in range(12):
        page.keyboard.press("Tab")
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_a_narrow_page_does_not_scroll_sideways(opened: Callable[[Path], Page], report: Path) -> None:
    page = opened(report)
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_headings_and_tables_are_named(opened: Callable[[Path], Page], report: Path) -> None:
    page = opened(report)
    levels = page.locator("h1, h2, h3").evaluate_all("headings => headings.map((heading) => +heading.tagName[1])")
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert page.locator("table:not(:has(caption))").count() == 0
    assert page.locator(".scroll:not([aria-label])").count() == 0


def test_without_javascript_the_tables_remain(browser: Browser, report: Path) -> None:
    context = browser.new_context(java_script_enabled=False, offline=True)
    page = context.new_page()
    page.goto(report.as_uri())
    assert page.get_by_text("The map needs JavaScript; the same values follow as a table.").count() == 3
    assert page.get_by_role("cell", name="0.938 ± 0.024").first.is_visible()
    context.close()
