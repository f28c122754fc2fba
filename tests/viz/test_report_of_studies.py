"""The report of a whole study: its sections and tables, choices, and hostile names."""

import base64
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from playwright.sync_api import BrowserContext, Page, expect
from support.headcount_runs import run as commanded
from support.pages import text_of, unpacked, wait_until
from support.synthetic_runs import HOSTILE, add_attention, add_importance, make_run
from support.synthetic_studies import add_study

from headcount import viz
from headcount.results import InputError, PruningCurve, ResultName, Run, Table
from headcount.viz.attention_views import stored_patterns
from headcount.viz.html_report.analysis_tables import records
from headcount.viz.html_report.overview.removable_shares import removable_shares
from headcount.viz.html_report.page import study_sections
from headcount.viz.html_report.sections import pruning

SECTIONS = [
    "causes",
    "verdicts",
    "pruning",
    "grid",
    "correlations",
    "shots",
    "overlaps",
    "capacity",
    "agreement",
    "layers",
    "gradients",
    "reliability",
]
LARGEST = 5_000_000
READY = 120_000  # milliseconds in which all figures are drawn again, on busy machines


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return add_study(make_run(tmp_path_factory.mktemp("study") / "run", 6, 4), 6, 4, ("piqa", "wic", "copa"))


@pytest.fixture(scope="module")
def page(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return viz.report(run, tmp_path_factory.mktemp("report") / "report.html")


def test_a_study_has_all_its_sections_in_order(run: Run) -> None:
    sections = {section.key: section for section in study_sections(dict(run))}
    assert list(sections) == SECTIONS
    for section in sections.values():
        without_figure = {view.figure is None for view in section.views}
        assert len(without_figure) == 1, "a section has a figure in all its views or in none"
        assert len({view.title for view in section.views}) == len(section.views)
        for view in section.views:
            assert {len(row) for row in view.rows} == {len(view.columns)}


def test_tables_say_what_the_figures_show(run: Run) -> None:
    views = {section.key: section.views for section in study_sections(dict(run))}
    removed = views["pruning"][0]
    assert removed.title == "copa, 0 shots: heads"
    assert removed.columns[6:8] == ("by the mean over tasks", "by the most correlated task")
    assert removed.rows[1][:3] == ["10", "2", "49.2 k"]
    assert {len(row) for row in removed.rows} == {11}
    assert views["shots"][0].rows[0] == ["0 and 1", "piqa", "0.500", "0.400 to 0.600", "0.000 to 0.200", ""]
    assert views["shots"][0].rows[-1] == ["0 and 1", "mean over 3 tasks", "0.400", "", "", "0.0010"]
    heads, ffns = views["correlations"][0], views["correlations"][-1]
    assert (heads.title, ffns.title) == ("heads, 0 shots", "FFNs, 1 shot")
    assert list(heads.figure.data[0].x) == ["mean", "copa", "wic", "piqa"]
    assert ffns.rows[0][3] == "n/a"
    assert [view.title for view in views["layers"]] == [
        "Induction scores",
        "Head importance, 0 shots",
        "Head importance, 1 shot",
    ]
    assert views["layers"][1].columns == ("layer", "piqa", "wic", "copa")
    assert views["layers"][1].rows[0] == ["0", "16.7", "16.7", "16.7"]
    assert "mean 2.00e-4" in views["layers"][1].figure.data[0].hovertext[0]
    assert [row[1] for row in views["gradients"][0].rows] == ["all heads", "within layers"]


def test_claims_are_counted(page: Path) -> None:
    assert "Of 3 claims, holds: 1, undecided: 2." in text_of(page)


@pytest.mark.parametrize(
    "name",
    [
        "analyses/claims",
        "analyses/layers",
        "analyses/agreement.0shot",
        "analyses/heads/across_shots",
        "analyses/heads/overlaps.0shot",
        "analyses/heads/order.0shot",
        "analyses/heads/reliability.0shot",
        "analyses/ffns/correlations.0shot",
        "analyses/gradient_and_oracle",
        "analyses/capacity/copying.piqa.0shot",
    ],
)
def test_a_table_without_its_columns_is_refused_by_name(tmp_path: Path, name: str) -> None:
    run = add_study(make_run(tmp_path / "run", 3, 2), 3, 2, ("piqa", "wic"), (0,))
    run.save(name, Table.of([{"other": 1}]))
    with pytest.raises(InputError, match=f"{name}: expected columns .*; run the study again"):
        viz.report(run, tmp_path / "report.html")
    run.save(name, Table.of([]))
    assert viz.report(run, tmp_path / "report.html").exists()


def test_text_in_place_of_numbers_is_refused_by_name(run: Run, tmp_path: Path, capsys: Any) -> None:
    tables = {name: table for name, table in run.items() if name.startswith("analyses/")}
    assert len(tables) > 10
    for name, table in tables.items():
        for column, value in table.records()[0].items():
            if value is None:
                continue
            wrong, kind = (0.5, "text") if isinstance(value, str) else ("high", "numbers")
            rows = Table.of([record | {column: wrong} for record in table.records()])
            with pytest.raises(InputError, match=f"{name}: expected {kind} in column {column}, got .*{wrong}"):
                records(ResultName.parse(name), rows, ())
    other = add_study(make_run(tmp_path / "run", 3, 2), 3, 2, ("piqa", "wic"), (0,))
    name = "analyses/capacity/copying.piqa.0shot"
    other.save(name, Table.of([record | {"retained": "much"} for record in other[name].records()]))
    with pytest.raises(InputError, match=f"{name}: expected numbers in column retained"):
        viz.report(other, tmp_path / "report.html")
    status, _, err = commanded(capsys, "show", other.folder, "--section", "analyses")
    assert (status, err.count("\n")) == (2, 1)
    assert "expected numbers in column retained, got 'much'" in err


def test_a_ranking_that_is_unknown_is_left_out(run: Run, tmp_path: Path) -> None:
    other = make_run(tmp_path / "run", 6, 4)
    other.save("pruning/heads/piqa.0shot.moon", run["pruning/heads/piqa.0shot.own"])
    assert study_sections(dict(other)) == []


def test_every_choice_draws_its_figure_and_asks_nothing_of_a_network(
    context: BrowserContext, unfolded: Callable[[Path], Page], page: Path
) -> None:
    requests: list[str] = []
    context.on("request", lambda request: requests.append(request.url))
    shown = unfolded(page)
    for key in SECTIONS:
        section = shown.locator(f"#{key}")
        for option in section.locator("option").all():
            name = option.get_attribute("value")
            section.locator("select").select_option(name)
            assert section.locator(".choice:visible").count() == 1
            if section.locator(".plot").count():
                assert section.locator(".plot").get_attribute("data-figure") == name
                assert section.locator("[data-chosen]").inner_text() == option.inner_text()
                assert section.locator(".plot .main-svg").first.is_visible()
    assert {url.split(":", 1)[0] for url in requests} <= {"file", "data", "blob"}
    shown.set_viewport_size({"width": 420, "height": 900})
    wait_until(shown, "document.documentElement.scrollWidth <= 420")


def test_curves_and_scales_take_the_colours_of_the_dark(unfolded: Callable[[Path], Page], page: Path) -> None:
    shown = unfolded(page)
    note = shown.locator("#pruning .annotation-text").first
    expect(note).to_have_css("fill", "rgb(89, 97, 107)")
    middle = "document.querySelector('#correlations .plot')._fullData[0].colorscale[2][1]"
    assert shown.evaluate(middle) == "#f4f3ef"
    shown.emulate_media(color_scheme="dark")
    expect(note).to_have_css("fill", "rgb(163, 171, 181)", timeout=READY)
    expect(shown.locator("#correlations .xtick text").first).to_have_css("fill", "rgb(231, 233, 236)")
    assert shown.evaluate(middle) == "#262a30"


def test_hostile_names_in_every_table_are_shown_as_they_are(unfolded: Callable[[Path], Page], tmp_path: Path) -> None:
    run = add_study(make_run(tmp_path / "run", 3, 2), 3, 2, ("piqa", "wic"), (0, 1))
    for name in [name for name in run.names if name.startswith("analyses/")]:
        table = run[name]
        assert isinstance(table, Table)
        unchanged = ("variant", "within", "score", "measure")
        worse = {column: HOSTILE for column in table.columns if column not in unchanged}
        rows = [row | {key: bad for key, bad in worse.items() if isinstance(row[key], str)} for row in table.records()]
        pairs = [row | {"b": f"{place}{HOSTILE}"} if "b" in row else row for place, row in enumerate(rows)]
        run.save(name, Table.of(pairs))
    shown = unfolded(viz.report(run, tmp_path / "report.html"))
    for section in ("claims", "overlaps", "agreement", "gradients", "reliability"):
        assert HOSTILE in shown.locator(f"#{section} tbody tr").first.inner_text()
    labels = shown.locator("#correlations .ytick text").all_text_contents()
    assert any("<img src=x onerror=window.hit=1>" in label for label in labels)
    assert shown.evaluate("window.hit") is None
    assert shown.locator("img").count() == 0


def test_a_study_of_the_largest_model_stays_small(tmp_path: Path) -> None:
    tasks = [f"task_{place}" for place in range(15)]
    run = add_importance(make_run(tmp_path / "run", 64, 72), 64, 72, tasks, (0, 1, 5))
    add_study(run, 64, 72, tasks, (0, 1, 5))
    words = [f" w{place}" for place in range(48)]
    add_attention(run, 64, 72, {"repeated": ["<s>", *words[:8] * 3], "text": words})
    page = viz.report(run, tmp_path / "report.html")
    assert page.stat().st_size <= LARGEST
    source = page.read_text()
    assert source.count('id="plotly"') == source.count('id="circuits"') == 1
    about = re.search(r'id="patterns">(.*?)</script>', source)[1]
    levels = base64.b64decode(json.loads(unpacked(about))["levels"])
    assert levels.count(stored_patterns.WHOLE) >= stored_patterns.ALWAYS
    assert levels.count(stored_patterns.STRONGEST) > 0


def _answers(*right: int, chance: float = 0.25) -> PruningCurve:
    """Return a curve with so many of 40 documents right at 0, 10, 20 ... %."""
    correct = torch.stack([(torch.arange(40) < count).float() for count in right])[None]
    percents = tuple(10 * step for step in range(len(right)))
    measured = (torch.arange(10)[None], correct, correct, correct, chance, float("nan"))
    return PruningCurve("heads", "static", percents, percents, percents, (0,), *measured)


def test_the_answer_has_the_share_that_can_be_removed(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", 6, 4)
    run.save("pruning/heads/piqa.0shot.own", _answers(36, 36, 20, 36))  # what comes back after a loss does not count
    run.save("pruning/heads/copa.5shot.own", _answers(36, 36, 36, 35))
    run.save("pruning/heads/wic.0shot.own", _answers(11, 11, 11, 11))  # at chance
    (share,) = removable_shares(dict(run))
    assert (share.part, len(share.rows), share.median) == ("heads", 2, "30")  # one of two is half of them
    assert [row[:2] for row in share.rows] == [("piqa, 0 shots", "10"), ("copa, 5 shots", "30")]
    text = text_of(viz.report(run, tmp_path / "report.html"))
    assert "About 30 % of the heads (10 to 30 % by task) on at least half of the 2 tasks above chance" in text
    assert "piqa, 0 shots 10 0.900 ± 0.048 0.250 copa, 5 shots 30 0.900 ± 0.048 0.250" in text
    assert not removable_shares({})


def test_where_no_random_orders_were_removed_the_curves_say_so() -> None:
    curves = {f"pruning/heads/piqa.0shot.{name}": _answers(36, 36) for name in ("own", "random")}
    assert [view.note for view in pruning.curves(curves).views] == [""]
    del curves["pruning/heads/piqa.0shot.random"]
    assert [view.note for view in pruning.curves(curves).views] == [pruning.NO_CONTROL]
