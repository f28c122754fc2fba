"""Synthetic runs to draw: of a small model, of the size of OPT-66B, with hostile names; and a browser."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright
from support.synthetic_runs import HOSTILE, add_hostile, add_importance, make_run

from headcount.results import Run

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
    context = browser.new_context(viewport={"width": 1280, "height": 1000}, offline=True, color_scheme="light")
    context.set_default_timeout(READY)
    yield context
    context.close()


@pytest.fixture
def opened(context: BrowserContext) -> Callable[[Path], Page]:
    """Return a function that opens a report and waits for its figures; any error in the page fails the test."""

    def open_page(path: Path) -> Page:
        page = context.new_page()
        page.on("console", lambda message: pytest.fail(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: pytest.fail(str(error)))
        page.on("dialog", lambda dialog: pytest.fail(dialog.message))
        page.goto(path.as_uri())
        page.wait_for_selector("[data-ready]", state="attached", timeout=READY)
        return page

    return open_page
