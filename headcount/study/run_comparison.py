"""Comparison of two runs: the agreement of every score that both have."""

import warnings
from dataclasses import asdict
from typing import Any

from headcount.results import (
    Correlation,
    ExpertScores,
    HeadAtlas,
    HeadScores,
    InputError,
    LayerScores,
    Result,
    Run,
    Table,
)
from headcount.stats import compare

Scores = HeadScores | LayerScores | ExpertScores


def compare_runs(first: Run, second: Run, top: float = 0.3) -> Table:
    """Return the agreement of two runs in every score that both have, one row a score.

    Scores of one shape are compared head by head (or layer by layer), with the overlap of the highest; others by
    relative depth, at as many depths as the smaller model has layers.

    Args:
        first: A run.
        second: Another run.
        top: The share of highest heads whose overlap is measured.

    Raises:
        InputError: The runs have no scores in common.
    """
    rows, notes, left_out = [], [], []
    for name in first.names:
        if not name.startswith(("induction/", "importance/", "atlas/")) or name not in second:
            continue
        ours, theirs = _scores(name, first[name]), _scores(name, second[name])
        for shared in [score for score in ours if score in theirs]:
            definitions = ours[shared].definition, theirs[shared].definition
            if definitions[0] != definitions[1]:
                notes.append(f"{shared} is {definitions[0]} in the first run and {definitions[1]} in the second")
            try:
                rows.append(_row(shared, ours[shared], theirs[shared], top))
            except InputError as error:  # the networks of two layers, say, are too few
                left_out.append(f"{shared} is left out: {error}")
    if not rows:
        nothing = (
            f"{first.folder} and {second.folder} have no scores in common: measure the same tasks and shots in both"
        )
        raise InputError(left_out[0] if left_out else nothing)
    for note in (*notes, *left_out):
        warnings.warn(note, stacklevel=2)
    return Table.of(rows, f"{second.folder.name} against {first.folder.name}", top=top)


def _scores(name: str, result: Result) -> dict[str, Scores]:
    """Return the scores of a result by their names: of an atlas all but the controls, of others one or none."""
    if isinstance(result, HeadAtlas):
        named = {**result.random, **{f"on_text/{score}": part for score, part in result.on_text.items()}}
        return {f"{name}/{score}": part for score, part in named.items()}
    return {name: result} if isinstance(result, Scores) else {}


def _row(name: str, a: Scores, b: Scores, top: float) -> dict[str, Any]:
    if a.shape == b.shape:
        shared = compare.overlap(a, b, top, resamples=200)
        by = a.axes[-1]
        return _record(name, by, compare.spearman(a, b), shared.fraction, shared.chance)
    n = min(a.shape[0], b.shape[0])
    if n < compare.FEWEST:
        raise InputError(f"{name}: by relative depth, models of {compare.FEWEST} layers or more can be compared")
    return _record(name, "relative depth", compare.spearman(compare.at_depths(a, n), compare.at_depths(b, n)))


def _record(
    name: str, by: str, correlation: Correlation, overlap: float | None = None, chance: float | None = None
) -> dict[str, Any]:
    numbers = {key: value for key, value in asdict(correlation).items() if key not in ("variant", "within")}
    return {"score": name, "by": by, **numbers, "overlap": overlap, "overlap_chance": chance}
