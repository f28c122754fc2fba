"""Pictures of the gallery, from the committed findings: `python docs/site/gallery.py`, with Chromium installed."""

import shutil
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

import headcount as hc

ROOT = Path(__file__).parents[2]
WIDTH, HEIGHT = 900, 520
MARGIN = 16  # of a page, on both sides together


def figures():
    """Return the figures of the gallery by the name of their picture."""
    run = hc.open_run(ROOT / "findings/smollm2")
    prefix_matching, antonym = run["induction/prefix_matching"], run["importance/heads/antonym.5shot"]
    curves = {
        "own ranking": run["pruning/heads/antonym.0shot.own"],
        "mean ranking": run["pruning/heads/antonym.0shot.mean"],
        "random": run["pruning/heads/antonym.0shot.random"],
    }
    return {
        "prefix_matching": hc.viz.heads(prefix_matching, title="Prefix matching"),
        "head_importance": hc.viz.heads(run["importance/heads/arc_easy.5shot"], title="Importance, ARC Easy, 5 shots"),
        "pruning_curve": hc.viz.pruning_curve(curves),
        "compare": hc.viz.compare(prefix_matching, antonym),
    }


def main():
    """Draw every figure, and save its picture in docs/gallery."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": WIDTH + MARGIN, "height": HEIGHT + MARGIN})
        page.set_default_timeout(600_000)
        for name, figure in figures().items():
            drawn = Path(folder) / f"{name}.html"
            figure.update_layout(width=WIDTH, height=HEIGHT, autosize=False).write_html(drawn)
            page.goto(drawn.as_uri())
            page.wait_for_selector(".main-svg")
            page.screenshot(path=ROOT / f"docs/gallery/{name}.png")
        browser.close()


if __name__ == "__main__":
    main()
