"""Make `README.md` from the runs of `headcount atlas` beside this file: python findings/atlas/make_atlas_page.py."""

import argparse
from collections.abc import Mapping
from math import nan
from pathlib import Path

from headcount.results import HeadAtlas, HeadScores, PairScores, ResultName, Run, open_run
from headcount.results.internal import with_error

LISTED = 3
"""Heads of each score in the tables."""

ALWAYS = ("entropy", "first_token_share")
"""Scores that are high in many heads, so that their highest are not worth a name."""


def make_page(folder: Path) -> Path:
    """Write the page on every run in a folder that has a head atlas; return its path.

    Args:
        folder: Folder of run directories.
    """
    runs = [open_run(manifest.parent) for manifest in sorted(folder.glob("*/manifest.json"))]
    atlases = [(run, atlas) for run in runs if (atlas := _atlas(run)) is not None]
    if not atlases:
        raise SystemExit(f"{folder}: expected run directories of `headcount atlas` in it, and there is none")
    parts = [
        "# What every head does",
        "Made by `python findings/atlas/make_atlas_page.py` from the runs beside it; no number is written by hand. The "
        "scores are defined in [docs/atlas.md](../../docs/atlas.md) and [docs/written_scores.md]"
        "(../../docs/written_scores.md). ± is one standard error over sequences. *Control* is the highest value that "
        "any head has with random weights: below it a score says nothing.",
    ]
    for run, atlas in atlases:
        parts += _of_model(run, atlas)
    page = folder / "README.md"
    page.write_text("\n\n".join(part for part in parts if part) + "\n", encoding="utf-8")
    return page


def _of_model(run: Run, atlas: HeadAtlas) -> list[str]:
    layers, heads = atlas.shape
    settings = atlas.provenance
    lines = [f"## {run.manifest['model']['name']}", f"{layers} layers of {heads} heads."]
    if isinstance(settings.get("command"), str):
        lines.append(f"Measured by `{settings['command']}`.")
    lines += ["### Heads worth knowing", _worth_knowing(run, atlas)]
    for title, scores, controls in (
        ("On repeated random tokens", atlas.random, atlas.control),
        ("On text", atlas.on_text, atlas.control.on_text),
    ):
        lines += [f"### {title}", _table(scores, controls)]
    return lines


def _table(scores: Mapping[str, HeadScores], controls: Mapping[str, HeadScores]) -> str:
    """Return the highest heads of each score, in a table."""
    rows = ["| score | highest heads | control | n |", "|---|---|---|---|"]
    for name, part in scores.items():
        control = f"{_highest(controls[name]):.3f}" if name in controls else "not measured"
        listed = ", ".join(_with_error(part, layer, head) for layer, head, _ in part.top(LISTED))
        rows.append(f"| {_words(name)} | {listed} | {control} | {part.n} |")
    return "\n".join(rows)


def _worth_knowing(run: Run, atlas: HeadAtlas) -> str:
    """Return the heads that are among the highest of a score, each with all that it is high in.

    They are above the control by twice their error at least; without an error, or a control, that is not asked.
    """
    named: dict[tuple[int, int], list[str]] = {}
    for kind, scores, controls in (
        ("random tokens", atlas.random, atlas.control),
        ("text", atlas.on_text, atlas.control.on_text),
    ):
        for name, part in scores.items():
            floor = _highest(controls[name]) if name in controls else None
            for rank, (layer, head, value) in enumerate(part.top(LISTED), 1):
                error = 0.0 if part.stderr is None else _error(part, layer, head)
                if name not in ALWAYS and (floor is None or value > floor + 2 * error):
                    place = "highest" if rank == 1 else f"rank {rank}"
                    phrase = f"{_words(name)} {value:.2f} on {kind} ({place})"
                    named.setdefault((layer, head), []).append(phrase)
    pairs = run.get(str(ResultName.composition("K")))
    lines = []
    for (layer, head), phrases in sorted(named.items()):
        text = f"* **L{layer}H{head}**: {'; '.join(phrases)}"
        lines.append(text + (_partners(pairs, layer, head) if isinstance(pairs, PairScores) else "") + ".")
    return "\n".join(lines) or "None is above its control."


def _partners(pairs: PairScores, layer: int, head: int) -> str:
    """Return the later head whose keys read this one's output best, if it is twice what unrelated heads have."""
    later = pairs.later_heads(layer, head, 1)
    if not later or later[0][2] < 2 * pairs.baseline:
        return ""
    other, place, value = later[0]
    return f"; by the weights its output is read best by the keys of L{other}H{place} (K-composition {value:.2f})"


def _with_error(scores: HeadScores, layer: int, head: int) -> str:
    return f"L{layer}H{head} {with_error(float(scores.values[layer, head]), _error(scores, layer, head))}"


def _error(scores: HeadScores, layer: int, head: int) -> float:
    return nan if scores.stderr is None else float(scores.stderr[layer, head])


def _highest(scores: HeadScores) -> float:
    return max((value for _, _, value in scores.top(1)), default=float("nan"))


def _words(name: str) -> str:
    return name.replace("_", " ")


def _atlas(run: Run) -> HeadAtlas | None:
    atlas = run.get(str(ResultName.atlas()))
    return atlas if isinstance(atlas, HeadAtlas) else None


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=Path(__file__).parent, help="folder of run directories")
    print(make_page(parser.parse_args().folder))
