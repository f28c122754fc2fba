"""Known numbers measured again: each passes if it comes out within its tolerance."""

import re
from collections.abc import Callable, Mapping
from math import isnan
from typing import Any

from headcount import importance, induction
from headcount.induction.internal import read_texts, text_rows
from headcount.progress import Progress
from headcount.results import HeadScores, InputError, Table
from headcount.study.verification.anchors import KnownModel
from headcount.tracing import Model, provenance

TEXT = (
    "The ferry to the island left at six, and the harbour was still dark. Anna counted the boxes twice, because the "
    "captain had counted them once and found one too few. When the sun came up, the gulls followed the ferry to the "
    "island as they did every morning. The captain said that the gulls knew the timetable better than the passengers. "
    "Anna laughed and counted the boxes again."
)
"""The text whose loss is a number of a model."""

CRITERIA = {
    "heads", "tolerance", "value", "among", "of", "at_least", "highest_at_least", "highest_at_most", "measure",
}  # fmt: skip
"""Entries of a check that are no settings of its measurement."""

Measured = HeadScores | Mapping[str, HeadScores] | float
Row = dict[str, Any]


def verify_model(model: Model, known: KnownModel, progress: Progress | None = None) -> Table:
    """Measure all known numbers of a model again.

    Args:
        model: The model.
        known: Its numbers.
        progress: Counts the measurements.

    Returns:
        A table, one row a number: `what`, `expected` and `measured` (text), `passed`, `source`. A measurement that
        ends with an error has not passed, and `measured` is the error.
    """
    rows: list[Row] = []
    for check in known.checks:
        name = check["measure"]
        settings = {key: value for key, value in check.items() if key not in CRITERIA}
        described = _described(name, settings)
        try:
            rows += _rows(described, check, MEASURES[name](model, **settings))
        except InputError as error:
            rows.append({"what": described, "expected": "a number", "measured": str(error), "passed": False})
        if progress is not None:
            progress.advance(1)
    records = [{**row, "source": known.source} for row in rows]
    return Table.of(
        records, f"known numbers of {known.name}", **provenance(model, numbers_of=known.name, measured=known.measured)
    )


def all_passed(table: Table) -> bool:
    """Return True if every number of a table of `verify_model` came out."""
    return all(row["passed"] for row in table.records())


def known_numbers(known: KnownModel) -> list[Row]:
    """Return the numbers of a model as rows, without measuring them."""
    rows: list[Row] = []
    for check in known.checks:
        settings = {key: value for key, value in check.items() if key not in CRITERIA}
        for row in _rows(_described(check["measure"], settings), check, None):
            number = {"model": known.name, "what": row["what"], "expected": row["expected"]}
            rows.append({**number, "run here": "yes" if known.measured else "not run here", "source": known.source})
    return rows


def _rows(what: str, check: Mapping[str, Any], measured: Measured | None) -> list[Row]:
    """Return one row for each number of a check; what was not measured has not passed."""
    if "heads" in check:
        pairs = [(f"{what}, {head}", value, _score(measured, head)) for head, value in check["heads"].items()]
        return [_within(label, value, check["tolerance"], score) for label, value, score in pairs]
    if "value" in check:
        return [_within(what, check["value"], check["tolerance"], measured)]
    if "among" in check:
        return [_among(what, check, head, measured) for head in check["of"]]
    highest = measured.top(1)[0][-1] if isinstance(measured, HeadScores) else float("nan")
    low, high = check.get("highest_at_least", float("-inf")), check.get("highest_at_most", float("inf"))
    expected = f"at least {low:g}" if "highest_at_least" in check else f"at most {high:g}"
    return [_row(f"{what}, highest head", expected, f"{highest:.4f}", low <= highest <= high)]


def _within(what: str, expected: float, tolerance: float, measured: Any) -> Row:
    value = float("nan") if measured is None else float(measured)
    return _row(what, f"{expected:.4f} ± {tolerance:g}", f"{value:.4f}", abs(value - expected) <= tolerance)


def _among(what: str, check: Mapping[str, Any], head: str, measured: Any) -> Row:
    least, among = check.get("at_least"), check["among"]
    expected = f"among the {among} highest" + ("" if least is None else f", at least {least:g}")
    score = _score(measured, head)
    if isnan(score):
        return _row(f"{what}, {head}", expected, "not measured", False)
    rank = 1 + int((measured.values > score).sum())
    passed = rank <= among and (least is None or score >= least)
    return _row(f"{what}, {head}", expected, f"rank {rank}, {score:.4f}", passed)


def _row(what: str, expected: str, measured: str, passed: bool) -> Row:
    return {"what": what, "expected": expected, "measured": measured, "passed": bool(passed)}


def _score(scores: Any, head: str) -> float:
    """Return the score of a head such as L18H6, or `previous_token L16H0` of several; NaN for one that is not there."""
    if isinstance(scores, Mapping):
        name, _, head = head.partition(" ")
        scores = scores.get(name)
    match = re.fullmatch(r"L(\d+)H(\d+)", head)
    if scores is None or match is None:
        return float("nan")
    layer, place = int(match[1]), int(match[2])
    inside = layer < scores.shape[0] and place < scores.shape[1]
    return float(scores.values[layer, place]) if inside else float("nan")


def _described(measure: str, settings: Mapping[str, Any]) -> str:
    """Return a measurement in words: `prefix matching (period 50, n sequences 4)`."""
    shown = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in settings.items() if name != "task")
    title = measure.replace("_", " ") + (f" of {settings['task']}" if "task" in settings else "")
    return f"{title} ({shown})" if shown else title


def _prefix_matching(model: Model, period: int, n_sequences: int) -> HeadScores:
    return induction.prefix_matching(model, induction.repeated_tokens(model, period, n_sequences), period)


def _copying(model: Model, length: int, n_sequences: int) -> HeadScores:
    return induction.copying(model, induction.distinct_tokens(model, length, n_sequences))


def _late_minus_early(model: Model, n_sequences: int) -> float:
    return induction.repeat_loss(model, n_sequences).late_minus_early


def _loss(model: Model) -> float:
    """The mean loss of `TEXT`, nats a token."""
    return float(model(TEXT, return_type="loss"))


def _accuracy(model: Model, task: str, shots: int, limit: int) -> float:
    return importance.accuracy(model, importance.load_task(task), shots=shots, limit=limit).value


def _exact_match(model: Model, task: str, shots: int, limit: int) -> float:
    return importance.accuracy(model, importance.load_task(task), shots=shots, limit=limit).exact_match[0]


def _atlas(model: Model, period: int, n_sequences: int) -> Mapping[str, HeadScores]:
    """The scores of the head atlas on random tokens; its text, which is not used, is two random tokens."""
    rows = induction.repeated_tokens(model, period, n_sequences)
    return induction.head_atlas(model, sequences=rows, text=rows[:1, :2], control=False, examples=False).random


def _previous_token(model: Model, period: int, n_sequences: int) -> HeadScores:
    return _atlas(model, period, n_sequences)["previous_token"]


def _retrieval(model: Model, n_sequences: int) -> HeadScores:
    return induction.retrieval(model, n_sequences)


def _copy_suppression(model: Model) -> HeadScores:
    return induction.copy_suppression(model, text_rows(model, read_texts(None)))


MEASURES: Mapping[str, Callable[..., Measured]] = {
    "prefix_matching": _prefix_matching,
    "copying": _copying,
    "atlas": _atlas,
    "previous_token": _previous_token,
    "retrieval": _retrieval,
    "copy_suppression": _copy_suppression,
    "late_minus_early": _late_minus_early,
    "loss": _loss,
    "accuracy": _accuracy,
    "exact_match": _exact_match,
}
"""The measurements of known numbers; all take seed 0."""
