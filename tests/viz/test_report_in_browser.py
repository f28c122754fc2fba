"""The report in a real browser, opened from a file without a network."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page
from support.pages import hover, wait_until

from headcount import viz
from headcount.results import Run
from headcount.viz.html_report.sections import score_maps
from headcount.viz.style.theme import DARK, LIGHT


@pytest.fixture(scope="module")
def report(small_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return viz.report(small_run, tmp_path_factory.mktemp("report") / "report.html")


def colour(css: str) -> str:
    """`rgb(20, 23, 27)` as `#14171b`."""
    return "#" + bytes(int(part) for part in css.removeprefix("rgb(").removesuffix(")").split(",")).hex()


def test_nothing_is_requested_but_the_file(
    context: BrowserContext, unfolded: Callable[[Path], Page], report: Path
) -> None:
    requests = []
    context.on("request", lambda request: requests.append(request.url))
    unfolded(report)
    assert requests[0] == report.as_uri()
    assert {url.split(":", 1)[0] for url in requests} <= {"file", "data", "blob"}


def test_all_figures_are_drawn(unfolded: Callable[[Path], Page], report: Path) -> None:
    page = unfolded(report)
    assert page.locator(".plot .main-svg").first.is_visible()
    assert page.locator("[data-figure] .heatmaplayer image").count() == 4
    assert page.locator("[data-figure=repeat_loss] .scatterlayer .point").count() == 4
    assert "needs JavaScript" not in page.locator("main").inner_text()


def test_hovering_says_what_python_says(unfolded: Callable[[Path], Page], small_run: Run, report: Path) -> None:
    page = unfolded(report)
    for measure, place in {"prefix_matching": (2, 1), "copying": (29, 8), "copying_published": (0, 0)}.items():
        expected = viz.heads(small_run[f"induction/{measure}"]).data[0].hovertext[place[0]][place[1]]
        plain = expected.replace("<br>", "\n").replace("<b>", "").replace("</b>", "")
        assert hover(page, measure, *place) == plain


def test_the_table_is_pythons_and_sorts(unfolded: Callable[[Path], Page], small_run: Run, report: Path) -> None:
    page = unfolded(report)
    maps = {name: small_run[f"induction/{name}"] for name in ("prefix_matching", "copying", "copying_published")}
    expected = [[cell.text for cell in row] for row in score_maps.head_rows(maps)]
    rows = page.locator("table.sortable tbody tr")
    shown = lambda: [row.locator("th, td").all_inner_texts() for row in rows.all()]  # noqa: E731
    assert shown() == expected

    table = page.get_by_role("group", name="Table of the top heads")
    copying = table.get_by_role("columnheader", name="Copying", exact=True)
    copying.get_by_role("button").press("Enter")
    assert copying.get_attribute("aria-sort") == "descending"
    assert shown()[0][0] == "L1H0"
    assert shown() == sorted(expected, key=lambda row: int(row[4]))
    copying.get_by_role("button").press("Enter")
    assert shown() == sorted(expected, key=lambda row: -int(row[4]))

    table.get_by_role("columnheader", name="head", exact=True).get_by_role("button").click()
    assert shown() == sorted(expected, key=lambda row: [int(part) for part in row[0][1:].split("H")])
    assert table.locator("[aria-sort]").count() == 1


def test_light_and_dark_follow_the_system(unfolded: Callable[[Path], Page], report: Path) -> None:
    page = unfolded(report)

    def settled() -> tuple[str, set[str]]:
        """Return the colours of the page and of the text in all figures, after they are drawn again."""
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


def test_names_appear_literally(unfolded: Callable[[Path], Page], hostile_run: Run, tmp_path: Path) -> None:
    name = hostile_run.manifest["model"]["name"]
    page = unfolded(viz.report(hostile_run, tmp_path / "report.html"))
    assert page.title() == f"Induction heads of {name}"
    assert page.locator("h1").text_content() == f"Induction heads of {name}"
    assert page.locator("#provenance td", has_text=name).count() >= 3
    assert page.evaluate("window.hit") is None
    assert page.locator("img").count() == 0
    assert name.capitalize() + ": 0.500" in hover(page, "prefix_matching", 0, 0).splitlines()
    assert hover(page, "prefix_matching", 0, 1).splitlines()[2] == "n/a (n = 1)"
    page.goto(f"{page.url.partition('#')[0]}#h=L1H1&p=text")
    page.locator("#head-title", has_text="L1H1").wait_for()
    assert page.locator("#head-title").text_content() == f"L1H1 on {name}"
    assert page.locator("#tokens button").all_text_contents() == [name, "↵", "<!--attention-->"]
    page.locator("#comparison").select_option("copying")
    page.locator("#compared [data-part=scatter] .point").first.wait_for()
    assert page.evaluate("window.hit") is None
    assert page.locator("img").count() == 0


@pytest.mark.parametrize("title", ["one line", "several lines " * 4, "many lines " * 12])
def test_titles_are_not_cut(shared_page: Page, small_run: Run, tmp_path: Path, title: str) -> None:
    figure = viz.heads(small_run["induction/copying"], title=title)
    figure.write_html(tmp_path / "figure.html")
    shared_page.goto((tmp_path / "figure.html").as_uri())
    shared_page.locator(".gtitle").wait_for()
    top, bottom = shared_page.evaluate(
        """() => {
            const box = (name) => document.querySelector(name).getBoundingClientRect();
            return [box(".gtitle").top - box(".main-svg").top, box(".gtitle").bottom - box(".main-svg").top];
        }"""
    )
    assert top >= 0
    assert bottom <= figure.layout.margin.t


def test_nothing_leaves_for_the_cloud(unfolded: Callable[[Path], Page], report: Path) -> None:
    page = unfolded(report)
    titles = page.locator(".modebar-btn").evaluate_all("buttons => buttons.map((button) => button.dataset.title)")
    assert len(titles) == 21  # PNG, SVG and reset, of six figures and the map to choose from
    assert not [title for title in titles if "loud" in title or "hare" in title or "Plotly" in title]


def test_focus_is_visible_and_starts_with_the_skip_link(unfolded: Callable[[Path], Page], report: Path) -> None:
    page = unfolded(report)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.getAttribute('href')") == "#summary"
    assert page.evaluate("document.activeElement.getBoundingClientRect().left") >= 0
    for _ in range(12):
        page.keyboard.press("Tab")
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_a_narrow_page_does_not_scroll_sideways(unfolded: Callable[[Path], Page], report: Path) -> None:
    page = unfolded(report)
    page.set_viewport_size({"width": 390, "height": 800})
    wait_until(page, "document.documentElement.scrollWidth <= 390")
    wait_until(page, "[...document.querySelectorAll('.js-plotly-plot')].every((plot) => plot.layout.width <= 360)")


def test_headings_and_tables_are_named(unfolded: Callable[[Path], Page], report: Path) -> None:
    page = unfolded(report)
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
    assert page.locator("#scatter circle").count() == 270
    assert page.locator("#scatter circle").first.is_visible()
    context.close()
