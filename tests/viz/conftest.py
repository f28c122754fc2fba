"""Synthetic runs to draw: of a small model, of the size of OPT-66B, with hostile names; and a browser."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, ViewportSize, sync_playwright
from support.synthetic_runs import HOSTILE, add_hostile, add_importance, make_run

from headcount.results import Run

VIEWPORT: ViewportSize = {"width": 1280, "height": 1000}
READY = 120_000  # milliseconds; far more than a quiet machine needs, for busy ones


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Run]:
    """Return a function that makes runs, each in a new folder."""
    return lambda *shape, **more: make_run(tmp_path_factory.mktemp("runs") / "run", *shape, **more)


@pytest.fixture(scope="session")
def small_run(runs: Callable[..., Run]) -> Run:
    return runs(30, 9)


@pytest.fixture(scope="session")
def needs_run(runs: Callable[..., Run]) -> Run:
    """A run of everything: induction heads, and what two tasks need at 0 and 5 shots."""
    return add_importance(runs(30, 9), 30, 9)


@pytest.fixture
def hostile_run(runs: Callable[..., Run]) -> Run:
    """A run with hostile names and a missing score."""
    return add_hostile(runs(3, 2, name=HOSTILE))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium; without it these tests are skipped, or fail in CI."""
    path = shutil.which("chromium")
    if path is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("chromium is not installed: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A browser's window of this test alone, such as for a record of its requests."""
    context = _context(browser)
    yield context
    context.close()


@pytest.fixture(scope="module")
def shared_page(browser: Browser) -> Iterator[Page]:
    """The page in which the tests of a module open reports: to start a new one takes longer than to draw a report."""
    context = _context(browser)
    yield context.new_page()
    context.close()


def _context(browser: Browser) -> BrowserContext:
    context = browser.new_context(viewport=VIEWPORT, offline=True, color_scheme="light")
    context.set_default_timeout(READY)
    return context


@pytest.fixture
def opened(request: pytest.FixtureRequest) -> Iterator[Callable[[Path], Page]]:
    """Return a function that opens a report and waits for its figures; any error in the page fails the test.

    Reports of one test share a page, and with the reports of other tests of its module unless it takes `context`.
    """
    alone = "context" in request.fixturenames
    page = request.getfixturevalue("context").new_page() if alone else request.getfixturevalue("shared_page")
    listeners = {
        "console": lambda message: pytest.fail(message.text) if message.type == "error" else None,
        "pageerror": lambda error: pytest.fail(str(error)),
        "dialog": lambda dialog: pytest.fail(dialog.message),
    }
    for event, listener in listeners.items():
        page.on(event, listener)

    def open_page(path: Path) -> Page:
        if page.url != "about:blank":  # an address within the same page would not load it again
            page.goto("about:blank")
        page.goto(path.as_uri())
        page.wait_for_selector("[data-ready]", state="attached", timeout=READY)
        return page

    yield open_page
    for event, listener in listeners.items():
        page.remove_listener(event, listener)
    page.goto("about:blank")
    page.mouse.move(0, 0)
    page.set_viewport_size(VIEWPORT)
    page.emulate_media(media="null", color_scheme="light")


@pytest.fixture
def unfolded(opened: Callable[[Path], Page]) -> Callable[[Path], Page]:
    """Return a function that opens a report, unfolds its appendix and draws everything."""

    def open_page(path: Path) -> Page:
        page = opened(path)
        page.evaluate("everything()")
        return page

    return open_page
