"""The section on attention in a real browser: clicks, keys, addresses, downloads."""

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from playwright.sync_api import Frame, Page
from support.pages import click_cell, wait_until
from support.synthetic_runs import WORDS, add_attention, make_run

from headcount import viz
from headcount.results import HeadScores, InputError, Patterns, Run, create_run
from headcount.viz.contents import read_contents
from headcount.viz.html_report.attention import heads_by_rank
from headcount.viz.ranks import ranks
from headcount.viz.style.theme import DARK, LIGHT

N_LAYERS, N_HEADS = 16, 9
TOKENS = ["</script>", "<img src=x onerror=window.hit=1>", "\n", "🙂", "שלום", "&lt;", "{{ 7*7 }}", " the"]
Opened = Callable[[Path], Page]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = make_run(tmp_path_factory.mktemp("runs") / "run", N_LAYERS, N_HEADS)
    return add_attention(run, N_LAYERS, N_HEADS, {"odd": TOKENS})


@pytest.fixture(scope="module")
def report(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return viz.report(run, tmp_path_factory.mktemp("report") / "report.html")


def heading(page: Page | Frame, label: str) -> None:
    """Wait until a head is open and drawn."""
    page.locator("#head-title", has_text=re.compile(rf"^{label} on ")).wait_for()
    page.locator("#matrix canvas").wait_for()


def weights(page: Page | Frame) -> list[list[float]]:
    """Return every weight of the open head, as its table shows them."""
    page.locator("#weights").evaluate("details => { details.open = true; }")
    page.locator("#weights tbody tr").first.wait_for()
    cells = "rows => rows.map((row) => [...row.querySelectorAll('td')].map((cell) => cell.textContent))"
    return [[float(weight) for weight in row] for row in page.locator("#weights tbody tr").evaluate_all(cells)]


def assert_shown(page: Page | Frame, patterns: Patterns, layer: int, head: int) -> None:
    """Check that the page shows these weights, and none above the diagonal."""
    rows, expected = weights(page), patterns.values(layer, head)
    assert [len(row) for row in rows] == list(range(1, len(expected) + 1))
    for query, row in enumerate(rows):
        torch.testing.assert_close(torch.tensor(row), expected[query, : query + 1], atol=1 / 255, rtol=0)


class at:  # noqa: N801 - reads as a word
    """A page at an address within it, as `opened` takes it."""

    def __init__(self, path: Path, address: str) -> None:
        self.path, self.address = path, address

    def as_uri(self) -> str:
        return f"{self.path.as_uri()}{self.address}"


def test_a_click_opens_a_head(opened: Opened, report: Path, run: Run) -> None:
    page = opened(report)
    click_cell(page, "#picker", 12, 7)
    heading(page, "L12H7")
    assert "h=L12H7" in page.evaluate("location.hash")
    assert "L12H7: Prefix matching" in page.locator("#head-text").inner_text()
    assert_shown(page, run["attention/text"], 12, 7)
    page.get_by_label("Prompt", exact=True).select_option("odd")
    page.locator("#head-title", has_text="8 words, odd").wait_for()
    assert_shown(page, run["attention/odd"], 12, 7)


def test_a_click_in_any_map_and_a_link_open_a_head(unfolded: Opened, report: Path) -> None:
    page = unfolded(report)
    click_cell(page, "[data-figure=copying]", 3, 2)
    heading(page, "L3H2")
    assert page.evaluate("location.hash").startswith("#m=copying&h=L3H2")
    assert page.locator("#head").evaluate("head => head.getBoundingClientRect().top < innerHeight")
    page.get_by_role("group", name="Table of the top heads").get_by_role("link", name="L2H1", exact=True).click()
    heading(page, "L2H1")


def test_an_address_restores_everything_and_back_works(opened: Opened, report: Path) -> None:
    address = "#m=copying&h=L12H7&p=text&c=prefix_matching"

    def stands(page: Page) -> None:
        heading(page, "L12H7")
        assert page.locator("#head-title").inner_text() == "L12H7 on 7 words, text"
        values = [page.locator(f"#{name}").input_value() for name in ("metric", "comparison", "prompt")]
        assert values == ["copying", "prefix_matching", "text"]
        assert page.locator("#compared [data-part=scatter] .point").count() == N_LAYERS * N_HEADS + 1
        captions = page.locator("#compared figcaption").all_inner_texts()
        assert captions[:2] == ["Copying", "Prefix matching"]
        scatter = "Copying across, Prefix matching upwards, one point for each head; the ring is L12H7."
        assert captions[3].startswith(scatter)

    page = opened(at(report, address))
    stands(page)
    page.reload()
    page.wait_for_selector("[data-ready]", state="attached")
    stands(page)
    page.get_by_role("group", name="Table of all heads").get_by_role("link").nth(4).click()
    page.locator("#head-title", has_not_text="L12H7").wait_for()
    page.get_by_role("link", name="Appendix").click()  # a section is not a head
    page.go_back()
    page.go_back()
    stands(page)


def test_an_unknown_address_shows_the_first_score(opened: Opened, report: Path) -> None:
    page = opened(at(report, "#h=L99H0&m=none&p=none&c=none"))
    for address in ("", "#h=LxH", "#m=constructor", "#maps"):
        page.evaluate("address => { if (address) location.hash = address; }", address)
        heading(page, "L2H1")
        assert page.locator("#metric").input_value() == "prefix_matching"


def test_keys_alone_reach_any_head(opened: Opened, report: Path, run: Run) -> None:
    page = opened(report)
    page.locator("#picker").focus()
    page.keyboard.press("Home")  # after a key, focus is that of the keyboard
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    texts = [page.locator("#picked").inner_text()]
    for key in ("ArrowUp", "ArrowRight", "ArrowRight"):
        page.keyboard.press(key)
        texts.append(page.locator("#picked").inner_text())
    assert [text.split(":")[0] for text in texts] == ["L2H0", "L3H0", "L3H1", "L3H2"]
    rank = ranks(run["induction/prefix_matching"])[3, 2]
    assert f"rank {rank} of {N_LAYERS * N_HEADS};" in texts[-1]
    page.keyboard.press("Enter")
    heading(page, "L3H2")
    for _ in range(20):
        page.keyboard.press("ArrowDown")  # not beyond the first layer
    page.keyboard.press("End")
    page.keyboard.press("Space")
    heading(page, "L0H8")


def table_of_heads(page: Page) -> list[list[str]]:
    rows = page.locator("#all-heads tbody tr")
    return rows.evaluate_all("rows => rows.map((row) => [...row.cells].map((cell) => cell.textContent))")


def test_the_table_of_heads_filters_and_sorts_stably(opened: Opened, report: Path, run: Run) -> None:
    page = opened(report)
    page.get_by_label("Layer").select_option("layer 5")
    rows = table_of_heads(page)
    assert sorted(row[0] for row in rows) == [f"L5H{head}" for head in range(N_HEADS)]
    assert page.locator("#all-heads caption").inner_text() == "9 heads of layer 5"
    values = run["induction/prefix_matching"].values[5]
    assert [row[0] for row in rows] == [f"L5H{head}" for head in torch.argsort(-values, stable=True).tolist()]
    heads = page.get_by_role("group", name="Table of all heads")
    heads.get_by_role("button", name="on position 0").press("Enter")
    shares = torch.tensor([int(row[-1].removesuffix(" %")) for row in table_of_heads(page)])
    assert (shares.diff() <= 0).all()
    assert heads.locator("[aria-sort]").inner_text().startswith("on position 0")
    page.get_by_label("Layer").select_option("all layers")
    heads.get_by_role("button", name="head").click()
    assert [row[0] for row in table_of_heads(page)][:10] == [*(f"L0H{head}" for head in range(9)), "L1H0"]


def test_tokens_appear_literally_with_their_weights(opened: Opened, report: Path, run: Run) -> None:
    page = opened(at(report, "#h=L4H3&p=odd"))
    heading(page, "L4H3")
    tokens = page.locator("#tokens button")
    assert tokens.all_text_contents() == [token.replace("\n", "↵") for token in TOKENS]
    assert page.evaluate("window.hit") is None
    assert page.locator("img").count() == 0
    pattern = run["attention/odd"].values(4, 3)
    tokens.nth(5).hover()
    text = page.locator("#token-text").inner_text()
    assert text.startswith("“&lt;” (5) attends to")
    shown = {int(key): float(weight) for key, weight in re.findall(r"\((\d+)\) (0\.\d+|1\.0+)", text)}
    assert len(shown) == 4
    for key, weight in shown.items():
        assert weight == pytest.approx(pattern[5, key].item(), abs=1 / 255)
        assert key <= 5
    assert float(text.rpartition("On position 0: ")[2].rstrip(".")) == pytest.approx(pattern[5, 0].item(), abs=1 / 255)
    page.get_by_label("is attended to by").check()
    tokens.nth(6).focus()
    text = page.locator("#token-text").inner_text()
    assert text.startswith("“{{ 7*7 }}” (6) is attended to by")
    assert {int(query) for query in re.findall(r"\((\d+)\) 0", text)} <= {6, 7}


def test_the_sink_and_the_stored_share_are_shown(opened: Opened, report: Path, run: Run) -> None:
    page = opened(at(report, "#h=L4H3&p=text"))
    heading(page, "L4H3")
    pattern = run["attention/text"].values(4, 3)
    text = page.locator("#head-text").inner_text()
    sink = float(re.search(r"(\d+) % of its attention is on position 0", text)[1])
    assert sink == pytest.approx(100 * pattern[1:, 0].mean().item(), abs=1)
    assert float(re.search(r"whole pattern is here: ([\d.]+) %", text)[1]) > 98
    assert page.locator("#kept").inner_text().startswith(f"In this page: whole patterns of {N_LAYERS * N_HEADS} heads")


def test_only_the_opened_layer_is_decoded(opened: Opened, report: Path, context) -> None:
    context.add_init_script(
        "window.streams = 0; const Stream = DecompressionStream;"
        "window.DecompressionStream = function (kind) { window.streams += 1; return new Stream(kind); };"
    )
    page = opened(report)
    first = "scripts, data, numbers, plotly for the map nearby, facts on heads, what attention there is, one layer"
    assert page.evaluate("streams") == 7, first
    page.goto(f"{report.as_uri()}#h=L7H1")
    heading(page, "L7H1")
    page.goto(f"{report.as_uri()}#h=L7H2")
    heading(page, "L7H2")
    wait_until(page, "streams >= 9")
    assert page.evaluate("streams") == 9, "another layer, and circuitsvis"


def downloaded(page: Page, name: str) -> Path:
    with page.expect_download() as download:
        page.get_by_role("button", name=name, exact=True).click()
    return Path(download.value.path())


def test_downloads_parse_back_to_the_scores(opened: Opened, report: Path, run: Run) -> None:
    page = opened(report)
    scores = run["induction/copying"]
    rows = list(csv.DictReader(downloaded(page, "CSV").read_text(encoding="utf-8").splitlines()))
    assert [(int(row["layer"]), int(row["head"])) for row in rows[:10]] == [*((0, head) for head in range(9)), (1, 0)]
    values = torch.tensor([float(row["copying"]) for row in rows]).view(N_LAYERS, N_HEADS)
    assert torch.equal(values, scores.values)
    scores_json = json.loads(downloaded(page, "JSON").read_text(encoding="utf-8"))
    assert torch.equal(torch.tensor(scores_json["copying"]["values"]), scores.values)
    assert torch.equal(torch.tensor(scores_json["copying"]["stderr"]), scores.stderr)  # in full, not as shown
    errors = torch.tensor([float(row["copying stderr"]) for row in rows]).view(N_LAYERS, N_HEADS)
    assert torch.equal(errors, scores.stderr)
    assert (scores_json["copying"]["title"], scores_json["copying"]["n"]) == ("Copying", 100)


def test_figures_can_be_downloaded(opened: Opened, report: Path, run: Run) -> None:
    page = opened(at(report, "#h=L4H3&p=odd"))
    heading(page, "L4H3")
    assert downloaded(page, "PNG").read_bytes().startswith(b"\x89PNG")
    svg = downloaded(page, "SVG").read_text(encoding="utf-8")
    assert svg.count("<rect") == 1 + 8 * 9 // 2
    assert "&lt;/script&gt;" in svg
    for title, start in (("Download figure as SVG", b"<svg"), ("Download plot as a PNG", b"\x89PNG")):
        page.locator("#picker").hover()
        with page.expect_download() as download:
            page.locator(f"#picker [data-title='{title}' i]").click()
        assert Path(download.value.path()).read_bytes().startswith(start)


def test_a_small_page_lists_what_it_leaves_out(opened: Opened, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", N_LAYERS, N_HEADS)
    add_attention(run, N_LAYERS, N_HEADS, {"long": WORDS * 6})
    full = viz.report(run, tmp_path / "full.html").stat().st_size
    without = viz.report(run, tmp_path / "without.html", max_mb=0.001)
    page = opened(at(without, "#h=L4H3"))
    page.locator("#head-text", has_text="This page leaves out what it attends to, to stay small.").wait_for()
    assert page.locator("#kept").inner_text().endswith(f"nothing for {N_LAYERS * N_HEADS}, to within 0.002.")
    assert page.locator("#matrix").is_hidden()
    some = viz.report(run, tmp_path / "some.html", max_mb=(full - 60_000) / 1e6)
    assert some.stat().st_size <= full - 60_000
    page = opened(at(some, "#m=prefix_matching&p=long"))
    heading(page, "L2H1")
    assert "The whole pattern is here" in page.locator("#head-text").inner_text()
    assert_shown(page, run["attention/long"], 2, 1)
    assert "the 4 strongest keys of each row for" in page.locator("#kept").inner_text()
    later = int(heads_by_rank(read_contents(run))[15])
    page.goto(f"{some.as_uri()}#h=L{later // N_HEADS}H{later % N_HEADS}&p=long")
    heading(page, f"L{later // N_HEADS}H{later % N_HEADS}")
    assert "Only the 4 strongest keys of each row are here" in page.locator("#head-text").inner_text()
    expected = run["attention/long"].values(*divmod(later, N_HEADS))
    strongest = expected * (expected >= expected.topk(4).values[:, -1:])
    for query, row in enumerate(weights(page)):
        assert torch.tensor(row).sort().values[-4:] == pytest.approx(
            strongest[query, : query + 1].sort().values[-4:], abs=1 / 255
        )


def test_without_attention_heads_can_still_be_chosen(opened: Opened, tmp_path: Path) -> None:
    run = create_run(tmp_path / "run", model={"name": "m"})
    run.save("induction/copying", HeadScores([[0.5, float("nan")], [0.25, 0.75]]))
    page = opened(viz.report(run, tmp_path / "report.html"))
    page.locator("#picked", has_text="L1H1: Copying 0.750").wait_for()
    assert "Not in this run: what heads attend to on a prompt." in page.locator("#attention").inner_text()
    assert table_of_heads(page)[-1] == ["L0H1", "n/a", "n/a"]
    click_cell(page, "#picker", 0, 0)
    page.locator("#picked", has_text="L0H0: Copying 0.500").wait_for()


def luminance(colour: str) -> float:
    parts = [int(colour[index : index + 2], 16) / 255 for index in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(first: str, second: str) -> float:
    high, low = sorted((luminance(first), luminance(second)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_text_stands_out_from_what_is_behind_it(opened: Opened, report: Path) -> None:
    page = opened(at(report, "#h=L4H3&p=odd"))
    for scheme, theme in (("light", LIGHT), ("dark", DARK)):
        page.emulate_media(color_scheme=scheme)
        pairs = pairs_of_colours(page)
        assert [theme.ink, theme.background] in pairs
        assert [pair for pair in pairs if contrast(*pair) < 4.5] == []


def pairs_of_colours(page: Page) -> list[list[str]]:
    """Return the colours of texts, each with that of what is behind it."""
    pairs: list[list[str]] = page.evaluate(
        """() => {
            const known = new Map();
            const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
            const hex = (css) => {
                if (!known.has(css)) {
                    canvas.clearRect(0, 0, 1, 1);
                    canvas.fillStyle = css;
                    canvas.fillRect(0, 0, 1, 1);
                    known.set(css, [...canvas.getImageData(0, 0, 1, 1).data]);
                }
                return known.get(css);
            };
            const behind = (element) => {
                const layers = [];
                for (let at = element; at; at = at.parentElement)
                    layers.unshift(hex(getComputedStyle(at).backgroundColor));
                return layers.reduce((below, [r, g, b, a]) =>
                    below.map((part, index) => part + ([r, g, b][index] - part) * a / 255), [255, 255, 255]);
            };
            const code = (parts) => "#" + parts.map((part) => Math.round(part).toString(16).padStart(2, "0")).join("");
            const texts = [...document.querySelectorAll("main *, header *")].filter((element) =>
                element.checkVisibility() && !element.closest("svg, canvas, .plot, #matrix") &&
                [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim()));
            const ink = (element) => code(hex(getComputedStyle(element).color).slice(0, 3));
            const found = texts.map((element) => [ink(element), code(behind(element))]);
            return [...new Set(found.map((pair) => pair.join()))].map((pair) => pair.split(","));
        }"""
    )
    return pairs


def test_print_shows_the_open_head_and_no_tools(opened: Opened, report: Path) -> None:
    page = opened(at(report, "#h=L4H3&p=text"))
    heading(page, "L4H3")
    page.emulate_media(media="print")
    sections = page.locator("main > section").evaluate_all("all => all.map((section) => section.checkVisibility())")
    assert all(sections)
    assert page.locator("#matrix canvas").is_visible()
    assert page.locator("#tokens").is_visible()
    assert page.locator(".downloads").first.is_hidden()
    assert page.locator("#metric").is_hidden()


def test_prompts_of_many_tokens_are_cut(opened: Opened, tmp_path: Path) -> None:
    run = create_run(tmp_path / "run", model={"name": "m"})
    run.save("induction/copying", HeadScores([[0.5]]))
    add_attention(run, 1, 1, {"long": WORDS * 40})
    page = opened(viz.report(run, tmp_path / "report.html"))
    page.locator("#kept", has_text="280 words, long goes on for 24 more tokens").wait_for()
    assert page.locator("#tokens button").count() == 256


@pytest.mark.parametrize("as_frame", [True, False])
def test_the_explorer_works_in_a_notebooks_frame_and_as_a_file(
    opened: Opened, run: Run, tmp_path: Path, as_frame: bool
) -> None:
    view = viz.explorer(run)
    assert view.title == "Heads of SmolLM2-135M-Instruct, Q4_1 dequantised"
    path = view.save(tmp_path / "view.html")
    if as_frame:
        path.write_text(f"<!doctype html><html data-ready><meta charset=utf-8>{view._repr_html_()}")
    page = opened(path)
    frame = page.frames[-1] if as_frame else page.main_frame
    heading(frame, "L2H1")
    frame.get_by_role("link", name="L3H4", exact=True).click()
    heading(frame, "L3H4")
    frame.get_by_label("Score", exact=True).select_option("copying")
    frame.locator("#picked", has_text="L3H4: Copying").wait_for()
    frame.locator("#picker").focus()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    heading(frame, "L4H4")
    assert_shown(frame, run["attention/text"], 4, 4)


def test_an_explorer_needs_scores_of_heads(tmp_path: Path) -> None:
    run = create_run(tmp_path / "run", model={"name": "m"})
    with pytest.raises(InputError, match="expected scores of heads, found none; headcount induction"):
        viz.explorer(run.folder)
    with pytest.raises(InputError, match="max_mb: expected"):
        viz.explorer(run, max_mb=-1)
