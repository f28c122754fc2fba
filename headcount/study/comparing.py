"""What the `compare` command says: of one run, how its tasks agree; of several, how models do."""

import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from headcount.results import Correlation, HeadScores, InputError, LayerScores, Result, Run, Table
from headcount.results.kinds.table import checked
from headcount.stats import compare
from headcount.study.analyses import Analyses
from headcount.study.measure import AGGREGATES
from headcount.study.units import Unit

COMPARED = re.compile(r"(induction|importance)/.+")
HEADS = re.compile(r"importance/heads/(?P<task>.+)\.(?P<shots>\d+)shot")


def analysis_units(run: Run, top: float, seed: int = 0) -> list[Unit]:
    """Every analysis whose results a run has: correlations, overlaps, capacity, across tasks and shots."""
    tasks: dict[int, list[str]] = {}
    for found in filter(None, map(HEADS.fullmatch, run.names)):
        tasks.setdefault(int(found["shots"]), []).append(found["task"])
    analyses = Analyses(run, top, seed, _n_layers(run))
    units = [unit for shots, names in sorted(tasks.items()) for unit in analyses.of_shots(shots, _ordered(names))]
    several: dict[str, list[int]] = {}
    for shots, names in sorted(tasks.items()):
        for task in names:
            if task not in AGGREGATES:
                several.setdefault(task, []).append(shots)
    units += analyses.across_shots(several)
    there = set(run.names)
    return [unit for unit in units if there.issuperset(unit.needs)]


def is_summarised(name: str) -> bool:
    """Whether a result is a table of an analysis that `summary` makes short."""
    return ANALYSES.fullmatch(name) is not None


def summary(analyses: Mapping[str, list[dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    """What analyses say, short: titles, and the rows below each.

    Args:
        analyses: The records of tables by their names in a run; those that are not summarised are passed over.

    Raises:
        InputError: One has other columns than it should, or text where numbers are expected.
    """
    said: dict[str, list[dict[str, Any]]] = {}
    for found in filter(None, map(ANALYSES.fullmatch, analyses)):
        for title, row in _short(found, analyses[found.string]):
            said.setdefault(title, []).append(row)
    return said


KINDS = "heads/correlations|ffns/correlations|heads/overlaps|heads/across_shots|capacity|agreement"
ANALYSES = re.compile(rf"analyses/(?P<kind>{KINDS})(/(?P<what>\w+)\.(?P<task>.+))?(\.(?P<shots>\d+)shot)?")
TITLES = {
    "heads/correlations": "rank correlation of tasks' heads",
    "ffns/correlations": "rank correlation of tasks' FFNs",
    "heads/across_shots": "rank correlation of a task's heads across shots",
    "heads/overlaps": "overlap of the highest heads",
    "agreement": "rank correlation of induction scores and head importance",
    "capacity": "percent of an induction score that remains without so many percent of heads",
}
CORRELATION = ("rho", "low", "high", "null_low", "null_high")
COLUMNS = {"capacity": ("removed", "retained"), "heads/overlaps": ("a", "b", "fraction", "chance", "low", "high")}
"""What of a kind of analysis is shown; of the others, correlations."""
RETAINED_AT = (10, 20, 50, 70, 90)


def _short(found: re.Match[str], rows: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Title and row of everything that one analysis says; of correlations only Spearman's over all heads."""
    kind, shots = found["kind"], found["shots"]
    checked(found.string, rows, COLUMNS.get(kind, ("variant", "within", *CORRELATION)))
    title = TITLES[kind] + (f", {shots} shot{'' if shots == '1' else 's'}" if shots else "")
    if kind == "capacity":
        yield title, {"score": found["what"], "ranking": found["task"], **_retained(rows)}
    for row in rows:
        if kind == "heads/overlaps":
            yield title, _of(row, *COLUMNS[kind])
        elif kind != "capacity" and (row["variant"], row["within"]) == ("spearman", None):
            names = [key for key in ("a", "b", "task", "score", "shots_a", "shots_b") if key in row]
            yield title, _of(row, *names, *CORRELATION)


def _of(row: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: row[name] for name in names}


def _retained(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """What is left at some percentages of heads removed, by the nearest number that was kept."""
    heads = rows[-1]["removed"]
    return {
        f"{percent} %": min(rows, key=lambda row: abs(row["removed"] - percent * heads / 100))["retained"]
        for percent in RETAINED_AT
    }


def between(first: Run, second: Run, top: float = 0.3) -> Table:
    """How far two runs agree in every score that both have.

    Scores of one shape are compared head by head (or layer by layer), with the overlap of the highest; others by
    relative depth, at as many depths as the smaller model has layers.

    Raises:
        InputError: The runs have no scores in common.
    """
    names = [name for name in first.names if COMPARED.fullmatch(name) and name in second]
    pairs = [(name, first[name], second[name]) for name in names]
    records, left_out = [], []
    for name, a, b in pairs:
        if _is_scores(a) and _is_scores(b):
            try:
                records.append(_compared(name, a, b, top))
            except InputError as error:  # the networks of two layers, say, are too few
                left_out.append(f"{name} is left out: {error}")
    if not records:
        nothing = (
            f"{first.folder} and {second.folder} have no scores in common: measure the same tasks and shots in both"
        )
        raise InputError(left_out[0] if left_out else nothing)
    for note in left_out:
        warnings.warn(note, stacklevel=2)
    return Table.of(records, f"{second.folder.name} against {first.folder.name}", top=top)


def _is_scores(result: Result) -> bool:
    return isinstance(result, HeadScores | LayerScores)


def _compared(name: str, a: Any, b: Any, top: float) -> dict[str, Any]:
    if a.shape == b.shape:
        by = "head" if isinstance(a, HeadScores) else "layer"
        shared = compare.overlap(a, b, top, resamples=200)
        return _record(name, by, compare.spearman(a, b), shared.fraction, shared.chance)
    n = min(a.shape[0], b.shape[0])
    if n < compare.FEWEST:
        raise InputError(f"{name}: by relative depth, models of {compare.FEWEST} layers or more can be compared")
    return _record(name, "relative depth", compare.spearman(compare.at_depths(a, n), compare.at_depths(b, n)))


def _record(
    name: str, by: str, found: Correlation, overlap: float | None = None, chance: float | None = None
) -> dict[str, Any]:
    numbers = {key: value for key, value in asdict(found).items() if key not in ("variant", "within")}
    return {"score": name, "by": by, **numbers, "overlap": overlap, "overlap_chance": chance}


def _ordered(tasks: Sequence[str]) -> list[str]:
    """The tasks, then their mean; the mean of ranks is not compared."""
    return [task for task in tasks if task not in AGGREGATES] + (["mean"] if "mean" in tasks else [])


def _n_layers(run: Run) -> int:
    sizes: Mapping[str, int] = run.manifest["model"].get("sizes", {})
    return int(sizes.get("n_layers", 0))
