"""The report's first screens in a real browser: the picture, the answers, the slider, the page of a head, anchors."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page
from support.pages import wait_until
from support.synthetic_runs import add_importance, make_run
from support.synthetic_studies import add_study

from headcount import viz
from headcount.results import HeadScores, Run

WORDS = 2500
BAR = 60  # pixels that the bar at the top takes at most


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    tasks = ("piqa", "wic")
    run = add_importance(make_run(tmp_path_factory.mktemp("runs") / "run", 6, 4), 6, 4, tasks, (0, 1))
    return add_study(run, 6, 4, tasks, (0, 1))


@pytest.fixture(scope="module")
def path(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return viz.report(run, tmp_path_factory.mktemp("report") / "report.html")


@pytest.fixture(scope="module")
def page(browser: Browser, path: Path) -> Iterator[Page]:
    """One page for all checks; each begins at the top."""
    page = browser.new_page(viewport={"width": 1400, "height": 900}, color_scheme="light")
    page.set_default_timeout(120_000)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(path.as_uri())
    page.wait_for_selector("[data-ready]", state="attached")
    yield page
    assert errors == []
    page.close()


def top_of(page: Page) -> None:
    page.evaluate("dispatchEvent(new Event('wheel')); scrollTo(0, 0)")


def test_the_first_screen_holds_the_picture_and_few_words(page: Page) -> None:
    for width, height in ((1400, 900), (400, 800)):
        page.set_viewport_size({"width": width, "height": height})
        top_of(page)
        assert page.locator("#scatter .plane").evaluate("plane => plane.getBoundingClientRect().bottom") <= height
    page.set_viewport_size({"width": 1400, "height": 900})
    assert page.locator(".five li").count() == 5
    assert page.locator(".five").evaluate("five => five.getBoundingClientRect().bottom") <= 900
    texts = page.locator("main > :not(#appendix)").all_inner_texts()
    assert 200 < sum(len(text.split()) for text in texts) <= WORDS
    assert page.locator("details.part[open]").count() == 0


def test_no_figure_is_cut_on_a_phone(page: Page) -> None:
    page.set_viewport_size({"width": 400, "height": 800})
    page.evaluate("Promise.all([...pending.keys()].filter((plot) => !plot.closest('details')).map(drawNow))")
    wide = (
        "plots => plots.filter((plot) => plot.getBoundingClientRect().right > 400).map((plot) => plot.dataset.figure)"
    )
    wait_until(page, "document.documentElement.scrollWidth <= 400")
    wait_until(page, "[...document.querySelectorAll('.js-plotly-plot')].every((plot) => plot.layout.width <= 370)")
    assert page.locator(".plot, #slider-map svg, #matrix canvas, .plane svg").evaluate_all(wide) == []
    page.set_viewport_size({"width": 1400, "height": 900})


def test_a_dot_opens_a_head_and_a_drag_chooses_heads(page: Page, run: Run) -> None:
    top_of(page)
    box = page.locator("#scatter circle").nth(2 * 4 + 1).bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.locator("#head-title", has_text="L2H1 on ").wait_for()
    assert "induction head" in page.locator("#head-labels").inner_text()
    assert page.locator("#head-verdict").inner_text().startswith("Verdict: ")
    assert page.locator("#head-neighbours a").count() == 5
    top_of(page)
    plane = page.locator("#scatter svg").bounding_box()
    assert plane is not None
    page.mouse.move(plane["x"] + plane["width"] * 0.5, plane["y"] + 2)
    page.mouse.down()
    page.mouse.move(plane["x"] + plane["width"] - 2, plane["y"] + plane["height"] - 2, steps=4)
    page.mouse.up()
    prefix = run["induction/prefix_matching"].values
    count = int((prefix > 0.5).sum())
    page.locator("#dot-text", has_text=f"{count} heads chosen").wait_for()
    assert page.locator("#all-heads tbody tr").count() == count
    assert re.search(r"b=50(\.\d)?_", page.evaluate("location.hash"))
    page.get_by_role("button", name="Clear").click()
    assert page.locator("#scatter .outside").count() == 0


def test_the_slider_takes_the_least_important_heads(page: Page, run: Run) -> None:
    page.locator("#slider-share").evaluate("range => { range.value = 2; range.dispatchEvent(new Event('input')); }")
    wait_until(page, "document.querySelectorAll('#slider-map .gone').length > 0")
    task = page.locator("#slider-task option").first.inner_text().split(",")[0]
    shots = re.search(r", (\d+) shot", page.locator("#slider-task option").first.inner_text())
    assert shots
    scores, curve = (
        run[f"{folder}/{task}.{shots[1]}shot{end}"]
        for folder, end in (("importance/heads", ""), ("pruning/heads", ".own"))
    )
    assert isinstance(scores, HeadScores)
    removed = curve.removed[2]
    expected = sorted(divmod(place, 4) for place in scores.ranking()[:removed].tolist())
    code = page.locator("#slider-code").inner_text()
    assert f"hc.masked(model, heads={expected})" in code
    assert page.locator("#slider-map .gone").count() == page.locator("#scatter .gone").count() == removed
    assert f"r={task}.{shots[1]}shot_2" in page.evaluate("location.hash")


def test_a_head_is_found_and_notes_stay_in_the_address_and_in_json(page: Page, browser: Browser, path: Path) -> None:
    page.locator("#find-head").fill("3.2")
    page.locator("#find-head").press("Enter")
    page.locator("#head-title", has_text="L3H2 on ").wait_for()
    page.locator("#find-head").fill("9.9")
    page.locator("#find-head").press("Enter")
    page.locator("#find-text", has_text="no such head").wait_for()
    page.locator("#own-label").fill("comma & co")
    page.locator("#own-label").press("Tab")
    page.locator("#own-notes", has_text="L3H2 comma & co").wait_for()
    with page.expect_download() as download:
        page.get_by_role("button", name="JSON", exact=True).click()
    assert json.loads(Path(download.value.path()).read_text())["notes"] == {"L3H2": {"label": "comma & co", "note": ""}}
    with page.expect_download() as download:
        page.get_by_role("button", name="Download SVG").click()
    picture = Path(download.value.path()).read_text()
    assert picture.startswith("<svg")
    assert picture.count("<circle") == 24
    assert "%" not in re.sub(r"<text.*?</text>", "", picture)
    address = page.evaluate("location.hash")
    again = browser.new_page()
    again.goto(f"{path.as_uri()}{address}")
    again.wait_for_selector("[data-ready]", state="attached", timeout=120_000)
    assert again.locator("#own-label").input_value() == "comma & co"
    assert again.locator("#head-title").inner_text().startswith("L3H2 on ")
    again.close()


def test_position_0_can_be_hidden(page: Page, run: Run) -> None:
    page.locator("#hide-first").check()
    wait_until(page, "location.hash.includes('s=hidden')")
    first = page.locator("#tokens button").first.get_attribute("style") or ""
    assert re.search(r" 0(\.0)?%|rgba\(0, 0, 0, 0\)|transparent 100%", first)
    page.locator("#hide-first").uncheck()
    page.locator("#layer-heads a").nth(3).wait_for()
    assert page.locator("#layer-heads a").count() == 4
    chosen = page.locator("#tokens [aria-pressed=true]").get_attribute("aria-label") or ""
    pattern = run["attention/text"].values(3, 2)
    off = [1 - float(row[0]) if query else 0.0 for query, row in enumerate(pattern)]
    assert off[int(chosen.split(":")[0])] == pytest.approx(max(off), abs=2 / 255)


@pytest.mark.parametrize("load", [1, 2])
def test_anchors_land_where_they_should(browser: Browser, path: Path, load: int) -> None:
    """Clicked as soon as the page is there, before its figures are drawn, and after."""
    page = browser.new_page(viewport={"width": 1400, "height": 900})
    page.goto(path.as_uri())
    page.wait_for_selector("#find:not([hidden])", timeout=120_000)
    for name in ("Do tasks agree", "How sure", "Appendix", "How many can go", "On text")[:: 1 if load == 1 else -1]:
        page.get_by_role("link", name=name, exact=True).click()
        page.wait_for_timeout(700)
        anchor = page.evaluate("location.hash")
        top = page.locator(anchor).evaluate("target => target.getBoundingClientRect().top")
        assert 0 <= top <= BAR + 20, (name, top)
    page.close()
