"""Make `README.md` and its figure from the run directories beside this file: python findings/causes/make_page.py."""

import argparse
from collections.abc import Callable
from pathlib import Path

from page import agreement, drawing, heads, kinds, limits, rankings, text
from page.runs import ModelRun

FIGURE = "exact_match.svg"


def make_page(folder: Path) -> Path:
    """Write the page and the figure of every run directory in a folder; return the page's path.

    Args:
        folder: Folder of run directories.
    """
    runs = [ModelRun.open(manifest.parent) for manifest in sorted(folder.glob("*/manifest.json"))]
    if not runs:
        raise SystemExit(f"{folder}: expected run directories of `headcount causes` in it, and there is none")
    with_sets = any(run.ablations for run in runs)
    if with_sets:
        (folder / FIGURE).write_text(drawing.figure(runs), encoding="utf-8")
    page = folder / "README.md"
    page.write_text(_page(runs, with_sets), encoding="utf-8")
    return page


def _page(runs: list[ModelRun], with_sets: bool) -> str:
    parts = [
        "# Which heads in-context learning needs",
        "This page and its figure were made by `python findings/causes/make_page.py` from the runs beside it. Every "
        "number and every verdict is computed from their results; none is written by hand. The runs, with the model's "
        "name or file in the place of MODEL and the folder of this page in that of DIR:",
        limits.made_by(runs),
        limits.models(runs),
        "Kinds of heads: *induction* (prefix matching on repeated random tokens), *function vector* (a head's "
        "mean output makes the model do the task where the shots do not show it), *importance* (size of the effect on "
        "the loss, from gradients), *gates* (heads that stay open though open ones cost). Importance and gates are "
        "measured by the loss on the task itself, on other rows, so that it is no surprise that their heads cost; the "
        "first two say what a head does. `headcount report findings/causes/MODEL` shows all of it.",
        "## In short",
        _short("Which kind", runs, kinds.summary),
        "A star: in these tasks, while the interval over tasks reaches 0.",
        _short("Single heads", runs, heads.summary),
        _short("Rankings", runs, rankings.summary),
        f"![Exact match without heads of each kind]({FIGURE})" if with_sets else "",
        "Exact match over the share of heads removed, in the mean over tasks: a line a kind, bars of one standard "
        "error over documents; grey, random heads of the same layers, one standard deviation to either side."
        if with_sets
        else "",
        kinds.section(runs),
        heads.verdict_section(runs),
        heads.circuit_section(runs),
        rankings.section(runs),
        agreement.section(runs),
        limits.section(runs),
    ]
    return text.paragraphs(*parts) + "\n"


def _short(title: str, runs: list[ModelRun], summary: Callable[[ModelRun], list[str]]) -> str:
    sentences = [sentence for run in runs for sentence in summary(run)]
    return f"**{title}**\n\n{text.bullets(sentences or ['Not measured yet.'])}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=Path(__file__).parent, help="folder of run directories")
    print(make_page(parser.parse_args().folder))
