"""Requirements on every report: a real model's, the largest, an incomplete one, and one with hostile names."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import BrowserContext, Page
from support.headcount_runs import run as run_command
from support.pages import unpacked
from support.synthetic_runs import HOSTILE, add_hostile, add_importance, make_run

from headcount import viz
from headcount.results import HeadScores, Run, create_run, open_run
from headcount.viz.html_report.sections.provenance import PRINTED, flatten

Opened = Callable[[Path], Page]
FINDINGS = Path(__file__).parents[2] / "findings" / "smollm2"
SECRET = "a-secret-that-is-planted"  # noqa: S105 - must not appear in any file


@dataclass
class RunAndReport:
    run: Run
    path: Path


def incomplete(folder: Path) -> Run:
    run = create_run(folder, model={"name": "half a run"})
    run.save("induction/copying", HeadScores([[0.5, float("nan")], [0.25, 0.75]]))
    return run


MAKERS: dict[str, Callable[[Path], Run]] = {
    "smollm2": lambda folder: open_run(FINDINGS),
    "large": lambda folder: add_importance(make_run(folder, 64, 72, name="facebook/opt-66b"), 64, 72, shots=(0, 1, 5)),
    "incomplete": incomplete,
    "hostile": lambda folder: add_hostile(make_run(folder, 3, 2, name=HOSTILE)),
}


@pytest.fixture(scope="module", params=MAKERS)
def reported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> RunAndReport:
    folder = tmp_path_factory.mktemp("report")
    run = MAKERS[request.param](folder / "run")
    return RunAndReport(run, viz.report(run, folder / "report.html"))


def inflated(path: Path) -> list[str]:
    """Return everything that is packed in a page."""
    elements = re.findall(r'<script type="application/gzip"[^>]*>(.*?)</script>', path.read_text(), flags=re.DOTALL)
    return [unpacked(packed).decode("latin-1") for packed in elements]


def test_it_is_ready_in_five_seconds_without_a_request_or_an_error(
    reported: RunAndReport, context: BrowserContext
) -> None:
    """Measured in processor time of the page's main thread, so that other processes do not count."""
    requests: list[str] = []
    errors: list[str] = []
    page = context.new_page()
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    session = context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})
    page.goto(reported.path.as_uri())
    page.wait_for_selector("[data-ready]", state="attached")
    metrics = {metric["name"]: metric["value"] for metric in session.send("Performance.getMetrics")["metrics"]}
    assert 0.1 < metrics["TaskDuration"] < 5
    assert requests[0] == reported.path.as_uri()
    assert {url.split(":", 1)[0] for url in requests} <= {"file", "data", "blob"}
    assert errors == []


def test_it_is_small_and_has_one_bundle(reported: RunAndReport) -> None:
    assert reported.path.stat().st_size <= 5e6
    assert sum("plotly.js v" in text for text in [reported.path.read_text(), *inflated(reported.path)]) == 1


def test_provenance_holds_every_key_of_the_manifest(reported: RunAndReport, opened: Opened) -> None:
    page = opened(reported.path)
    rows = page.locator("#provenance table", has=page.locator("caption", has_text="The run")).locator("tr")
    shown = rows.evaluate_all("rows => rows.map((row) => [...row.cells].map((cell) => cell.textContent))")
    assert [tuple(row) for row in shown] == list(flatten(reported.run.manifest))


# axe walks through folded elements but does not check them: of each list of similar ones, the first is unfolded and
# the others are emptied. The rows of a table are alike, too: the first ten and the last three stay.
ONE_OPEN = """() => {
  for (const list of new Set([...document.querySelectorAll("details")].map((element) => element.parentElement))) {
    const [first, ...others] = list.querySelectorAll(":scope > details.own, :scope > details.choice");
    if (first) first.open = true;
    for (const other of others.filter((element) => !element.open)) {
      for (const part of [...other.children].slice(1)) part.remove();
    }
  }
  for (const body of document.querySelectorAll("tbody")) [...body.rows].slice(10, -3).forEach((row) => row.remove());
}"""


def test_axe_finds_nothing(reported: RunAndReport, opened: Opened) -> None:
    page = opened(reported.path)
    page.evaluate("Promise.all(parts.map((part) => { part.open = true; return makeReady(part, plotting); }))")
    page.evaluate(ONE_OPEN)
    for scheme in ("light", "dark") if reported.run.folder == FINDINGS else ("light",):
        page.emulate_media(color_scheme=scheme)
        page.evaluate("new Promise((done) => requestAnimationFrame(() => setTimeout(done, 300)))")
        options: dict[str, object] = {"resultTypes": ["violations"]}
        if scheme == "dark":  # only colours differ
            options["runOnly"] = ["cat.color"]
        violations = Axe().run(page, options=options).response["violations"]
        assert [(rule["id"], rule["impact"], [node["target"] for node in rule["nodes"]]) for rule in violations] == []


def test_print_shows_all_sections_and_nothing_is_shared(reported: RunAndReport, opened: Opened) -> None:
    page = opened(reported.path)
    page.evaluate("everything()")
    titles = page.locator(".modebar-btn").evaluate_all("buttons => buttons.map((button) => button.dataset.title)")
    assert [title for title in titles if "loud" in title or "hare" in title] == []
    page.emulate_media(media="print")
    sections = page.locator("main section").evaluate_all("all => all.map((section) => section.checkVisibility())")
    assert len(sections) >= 17
    assert all(sections)
    many = len(reported.run.names) > PRINTED
    assert page.locator(".on-paper:visible").count() == many
    assert not many or page.locator(".own:visible").count() == 0


def test_a_secret_is_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    """Secrets in the environment of a command are neither stored in a run nor in its report."""
    for name in ("HF_TOKEN", "NDIF_API_KEY", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.setenv(name, SECRET)
    folder = tmp_path / "run"
    command = ("induction", "--model", "tiny-opt", "--sequences", "1", "--no-control", "--out", folder)
    assert run_command(capsys, *command)[0] == 0
    assert run_command(capsys, "report", folder, "--output", tmp_path / "report.html")[0] == 0
    stored = [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
    texts = [(tmp_path / "report.html").read_text(), *inflated(tmp_path / "report.html")]
    assert any(b"tiny-opt" in content for content in stored)
    assert not any(SECRET.encode() in content for content in stored)
    assert not any(SECRET in text for text in texts)
