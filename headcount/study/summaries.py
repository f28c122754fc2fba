"""Summaries of a run's analyses, for `show` and `compare`: a few columns of their tables, under one title each."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from headcount.results import ResultName
from headcount.results.internal import CORRELATION_COLUMNS, checked, shots_title

Record = dict[str, Any]

TITLES = {
    "heads/correlations": "rank correlation of tasks' heads",
    "ffns/correlations": "rank correlation of tasks' FFNs",
    "heads/across_shots": "rank correlation of a task's heads across shots",
    "heads/overlaps": "overlap of the highest heads",
    "agreement": "rank correlation of induction scores and head importance",
}
CAPACITY = "percent of an induction score that remains without so many percent of heads"
TEXT_COLUMNS = {"a", "b", "score", "task", "variant", "within"}
OVERLAP_COLUMNS = ("a", "b", "fraction", "chance", "low", "high")
RETAINED_AT = (10, 20, 50, 70, 90)


def is_summarised(name: str) -> bool:
    """Return True if a result is an analysis that `summarise` shortens."""
    parsed = ResultName.parse(name)
    return parsed is not None and (_is_capacity(parsed) or (parsed.folder == "analyses" and parsed.topic in TITLES))


def summarise(analyses: Mapping[str, list[Record]]) -> dict[str, list[Record]]:
    """Return short tables of analyses: titles, and the rows below each.

    Args:
        analyses: The records of tables by their names in a run; those that are not summarised are passed over.

    Raises:
        InputError: A table has other columns than it should, or text where numbers are expected.
    """
    sections: dict[str, list[Record]] = {}
    for text, records in analyses.items():
        name = ResultName.parse(text)
        if name is not None and is_summarised(text):
            for title, row in _summary(name, records):
                sections.setdefault(title, []).append(row)
    return sections


def _is_capacity(name: ResultName) -> bool:
    return name.folder == "analyses/capacity"


def _summary(name: ResultName, records: list[Record]) -> Iterator[tuple[str, Record]]:
    """Title and row of each line of a summary; of correlations only Spearman's over all heads."""
    if _is_capacity(name):
        checked(str(name), records, ("removed", "retained"), TEXT_COLUMNS)
        yield CAPACITY, {"score": name.topic, "ranking": str(name.setting), **_retained(records)}
        return
    title = TITLES[name.topic] + (f", {shots_title(name.shots)}" if name.shots is not None else "")
    if name.topic == "heads/overlaps":
        for row in checked(str(name), records, OVERLAP_COLUMNS, TEXT_COLUMNS):
            yield title, _columns(row, OVERLAP_COLUMNS)
        return
    for row in checked(str(name), records, ("variant", "within", *CORRELATION_COLUMNS), TEXT_COLUMNS):
        if (row["variant"], row["within"]) == ("spearman", None):
            names = [key for key in ("a", "b", "task", "score", "shots_a", "shots_b") if key in row]
            yield title, _columns(row, (*names, *CORRELATION_COLUMNS))


def _columns(row: Mapping[str, Any], names: Sequence[str]) -> Record:
    return {name: row[name] for name in names}


def _retained(records: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The percentage that is left at some percentages of heads removed, by the nearest number that was stored."""
    heads = records[-1]["removed"]
    return {
        f"{percent} %": min(records, key=lambda row: abs(row["removed"] - percent * heads / 100))["retained"]
        for percent in RETAINED_AT
    }
