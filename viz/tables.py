"""The report's tables as plain text: the highest heads, every value of a map, and where the numbers come from."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from results import HeadScores, RepeatLoss, Run
from viz import facts, words
from viz.contents import Contents

HIGHEST = 12


@dataclass(frozen=True)
class Cell:
    """One cell of a table that can be sorted.

    Attributes:
        text: What it shows.
        order: The number that it is sorted by; None, for what was not measured, comes last.
    """

    text: str
    order: float | None


def head_columns(maps: Mapping[str, HeadScores]) -> list[str]:
    """The headings that go with `head_rows`: the head, then score and rank by each measure, then the extras."""
    scores = [heading for measure in maps for heading in (words.title_of(measure), "rank")]
    return ["head", *scores, *(words.title_of(name) for name, _ in _extras(maps))]


def head_rows(maps: Mapping[str, HeadScores]) -> list[list[Cell]]:
    """The heads that are among the highest by any measure, in the order of the first one.

    Args:
        maps: Scores by measure, of one shape.

    Returns:
        One row a head: its label, for each measure its score with standard error and its rank, and each extra.
    """
    ranks = {measure: facts.ranks(scores) for measure, scores in maps.items()}
    chosen = {(layer, head) for scores in maps.values() for layer, head, _ in scores.top(HIGHEST)}
    order = next(iter(ranks.values()), {})
    return [_head_row(maps, ranks, *place) for place in sorted(chosen, key=lambda at: (order.get(at, len(order)), at))]


def _head_row(
    maps: Mapping[str, HeadScores], ranks: Mapping[str, Mapping[tuple[int, int], int]], layer: int, head: int
) -> list[Cell]:
    first = next(iter(maps.values()))
    row = [Cell(first.label(layer, head), layer * first.shape[1] + head)]
    for measure, scores in maps.items():
        value, rank = scores.values[layer, head].item(), ranks[measure].get((layer, head))
        row.append(Cell(words.measured(value, words.entry(scores.stderr, layer, head)), _order(value)))
        row.append(Cell(words.MISSING if rank is None else str(rank), rank))
    for _, extra in _extras(maps):
        value = extra[layer, head].item()
        row.append(Cell(words.number(value, 2), _order(value)))
    return row


def _extras(maps: Mapping[str, HeadScores]) -> list[tuple[str, Any]]:
    """Each extra once, though several measures may carry it."""
    return list({name: extra for scores in maps.values() for name, extra in scores.extras.items()}.items())


def _order(value: float) -> float | None:
    return None if value != value else value  # NaN alone differs from itself


def matrix(scores: HeadScores) -> list[list[str]]:
    """Every value to two decimals, one row a layer from the last one down to layer 0, as the map shows them."""
    return [[words.number(value, 2) for value in row] for row in reversed(scores.values.tolist())]


def loss_rows(loss: RepeatLoss) -> list[tuple[str, str]]:
    """Each repeat and its loss with standard error."""
    return [(str(row.repeat), words.measured(row.loss, row.stderr)) for row in loss.to_frame().itertuples()]


@dataclass(frozen=True)
class Provenance:
    """Where the numbers come from; every key and value of the manifest and of each result, as text.

    Attributes:
        manifest: What the run directory says of itself.
        shared: What all results have in common.
        own: What each result has of its own, by its name.
    """

    manifest: Mapping[str, str]
    shared: Mapping[str, str]
    own: Mapping[str, Mapping[str, str]]


def provenance(run: Run, contents: Contents) -> Provenance:
    """Gathers what the manifest and the results say about how they were made."""
    stated = {name: _stated(result) for name, result in contents.everything.items()}
    several = list(stated.values()) if len(stated) > 1 else []
    shared = {
        key: value
        for key, value in (several[0] if several else {}).items()
        if all(other.get(key) == value for other in several)
    }
    own = {name: {key: value for key, value in flat.items() if key not in shared} for name, flat in stated.items()}
    return Provenance(dict(flatten(run.manifest)), shared, own)


def _stated(result: Any) -> dict[str, str]:
    """What a result says of itself: its provenance, and the fields that are words or counts."""
    names = ("measure", "definition", "n")
    fields = {name: getattr(result, name) for name in names if getattr(result, name, "") != ""}
    return dict(flatten({**fields, **result.provenance}))


def flatten(mapping: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """The entries of nested dicts as text, with dotted keys such as `versions.torch`."""
    for key, value in mapping.items():
        if isinstance(value, dict) and value:
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
