"""Choosing a task in a real browser: the map, the table and the hover texts follow."""

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page
from support.pages import hover, wait_until
from support.synthetic_runs import HOSTILE

from headcount import viz
from headcount.results import HeadScores, LayerScores, Run, create_run

CHOICES = ["mean over tasks", "mean rank over tasks", "piqa", "wic"]


@pytest.fixture(scope="module")
def report(needs_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return viz.report(needs_run, tmp_path_factory.mktemp("report") / "report.html")


def shown(page: Page, section: str) -> tuple[list[str], str, str]:
    """Return the open tables of a section, its caption, and the name of its figure."""
    part = page.locator(section)
    tables = [choice.locator("summary").inner_text() for choice in part.locator(".choice").all() if choice.is_visible()]
    return tables, part.locator("[data-chosen]").inner_text(), part.locator(".plot").get_attribute("data-figure")


def hover_text_of(scores: HeadScores, layer: int, head: int) -> str:
    """Return the hover text of a head in the map of a notebook."""
    return viz.heads(scores).data[0].hovertext[layer][head].replace("<br>", "\n").replace("<b>", "").replace("</b>", "")


def test_a_choice_changes_map_and_table(unfolded: Callable[[Path], Page], report: Path, needs_run: Run) -> None:
    page = unfolded(report)
    select = page.get_by_label("Task and shots").first
    options = select.locator("option").all_inner_texts()
    assert options == [f"{task}, {shots} shots" for shots in (0, 5) for task in CHOICES]
    assert shown(page, "#needed-heads") == ([options[4]], options[4], "heads/mean.5shot")
    select.select_option("wic, 5 shots")
    assert shown(page, "#needed-heads") == (["wic, 5 shots"], "wic, 5 shots", "heads/wic.5shot")
    first = page.locator("#needed-heads tbody tr:visible").first.locator("th, td").all_inner_texts()
    assert first[:3] == ["1", "L4H0", "1.50e-3 ± 0.15e-3"]
    for place in ((4, 0), (29, 8), (0, 3)):
        expected = hover_text_of(needs_run["importance/heads/wic.5shot"], *place)
        assert hover(page, "heads\\/wic\\.5shot", *place) == expected
    assert shown(page, "#needed-ffns")[1] == options[4], "the other choice stays"


def test_the_keyboard_chooses(unfolded: Callable[[Path], Page], report: Path) -> None:
    page = unfolded(report)
    select = page.get_by_label("Task and shots").last
    select.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    assert shown(page, "#needed-ffns") == (["piqa, 5 shots"], "piqa, 5 shots", "ffns/piqa.5shot")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    assert page.locator("#needed-ffns .scatterlayer .point").count() == 30
    assert page.locator("#needed-ffns .errorbar").count() == 30


def test_means_of_ranks_keep_their_decimals(unfolded: Callable[[Path], Page], report: Path, needs_run: Run) -> None:
    page = unfolded(report)
    page.get_by_label("Task and shots").first.select_option("mean rank over tasks, 0 shots")
    expected = hover_text_of(needs_run["importance/heads/rank-mean.0shot"], 3, 1)
    assert "1.000 (n = 2)" in expected  # without its error, which is one of two tasks
    assert hover(page, "heads\\/rank-mean\\.0shot", 3, 1) == expected


def test_nothing_is_requested_and_the_page_stays_narrow(
    context: BrowserContext, unfolded: Callable[[Path], Page], report: Path
) -> None:
    requests = []
    context.on("request", lambda request: requests.append(request.url))
    page = unfolded(report)
    page.get_by_label("Task and shots").first.select_option("wic, 0 shots")
    assert {url.split(":", 1)[0] for url in requests} <= {"file", "data", "blob"}
    page.set_viewport_size({"width": 390, "height": 800})
    wait_until(page, "document.documentElement.scrollWidth <= 390")
    assert page.locator("table:not(:has(caption))").count() == 0
    assert page.locator(".scroll:not([aria-label])").count() == 0


def test_colours_follow_the_system_after_a_choice(unfolded: Callable[[Path], Page], report: Path) -> None:
    page = unfolded(report)
    page.emulate_media(color_scheme="dark")
    page.get_by_label("Task and shots").first.select_option("wic, 0 shots")
    wait_until(
        page, "getComputedStyle(document.querySelector('#needed-heads .xtick text')).fill === 'rgb(231, 233, 236)'"
    )


def test_paper_shows_the_chosen_table_and_all_provenance(unfolded: Callable[[Path], Page], report: Path) -> None:
    page = unfolded(report)
    page.emulate_media(media="print")
    assert page.locator("#needed-heads .choice:visible").count() == 1
    assert not page.locator(".choose").first.is_visible()
    assert page.locator(".own table").first.is_visible()


def test_hostile_names_and_missing_scores(unfolded: Callable[[Path], Page], tmp_path: Path) -> None:
    run = create_run(tmp_path / "run", model={"name": HOSTILE})
    provenance = {"tasks": [HOSTILE], HOSTILE: HOSTILE}
    scores = HeadScores([[1e-4, float("nan")], [0.0, -2e-5]], variance=[[1e-8] * 2] * 2, n=4, measure=HOSTILE)
    run.save("importance/heads/a.0shot", scores)
    run.save("importance/heads/mean.0shot", HeadScores([[1e-4, 0.0]] * 2, measure=HOSTILE, provenance=provenance))
    run.save("importance/ffns/mean.0shot", LayerScores([1, float("nan")], measure=HOSTILE, provenance=provenance))
    page = unfolded(viz.report(run, tmp_path / "report.html"))
    page.get_by_label("Task and shots").first.select_option("a, 0 shots")
    for place in ((0, 0), (0, 1), (1, 0), (1, 1)):
        assert hover(page, "heads\\/a\\.0shot", *place) == hover_text_of(scores, *place).replace("&lt;", "<").replace(
            "&gt;", ">"
        ).replace("&amp;", "&").replace("&quot;", '"')
    assert page.evaluate("window.hit") is None
    assert page.locator("img").count() == 0
    assert page.locator("#needed-ffns td", has_text="n/a").count() == 1


def test_without_javascript_every_table_can_be_unfolded(browser: Browser, report: Path) -> None:
    context = browser.new_context(java_script_enabled=False, offline=True)
    page = context.new_page()
    page.goto(report.as_uri())
    assert page.get_by_label("Task and shots").count() == 2
    assert not page.get_by_label("Task and shots").first.is_visible()
    page.locator("details.part", has=page.locator("#needed-heads")).locator("summary").first.click()
    last = page.locator("#needed-heads .choice").last
    assert not last.get_by_role("table").is_visible()
    last.locator("summary").click()
    assert last.get_by_role("cell", name="1.50e-3 ± 0.15e-3").is_visible()
    context.close()
