"""The report's tables as plain text: the highest heads, every value of a map, and where the numbers come from."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import isnan
from typing import Any

from torch import Tensor

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
    return ["head", *scores, *(words.title_of(name) for name in _extras(maps))]


def head_rows(maps: Mapping[str, HeadScores]) -> list[list[Cell]]:
    """The heads that are among the highest by any measure, in the order of the first one.

    Args:
        maps: Scores by measure, of one shape; at least one.

    Returns:
        One row a head: its label, for each measure its score with standard error and its rank, and each extra.
    """
    columns = [column for scores in maps.values() for column in (_score_column(scores), _rank_column(scores))]
    columns += [_extra_column(extra) for extra in _extras(maps).values()]
    first = next(iter(maps.values()))
    ranks, n_heads = facts.ranks(first), first.shape[1]
    chosen = {(layer, head) for scores in maps.values() for layer, head, _ in scores.top(HIGHEST)}
    return [
        [
            Cell(first.label(layer, head), layer * n_heads + head),
            *(column[layer * n_heads + head] for column in columns),
        ]
        for layer, head in sorted(chosen, key=lambda place: (ranks.get(place, first.values.numel()), place))
    ]


def _score_column(scores: HeadScores) -> list[Cell]:
    texts = words.all_measured(scores.values, scores.stderr)
    return [Cell(text, _order(value)) for text, value in zip(texts, scores.values.flatten().tolist(), strict=True)]


def _rank_column(scores: HeadScores) -> list[Cell]:
    ranks = facts.ranks(scores)
    places = (ranks.get(divmod(index, scores.shape[1])) for index in range(scores.values.numel()))
    return [Cell(words.MISSING if rank is None else str(rank), rank) for rank in places]


def _extra_column(extra: Tensor) -> list[Cell]:
    return [Cell(words.number(value, 2), _order(value)) for value in extra.flatten().tolist()]


def _extras(maps: Mapping[str, HeadScores]) -> dict[str, Tensor]:
    """Each extra once, though several measures may carry it."""
    return {name: extra for scores in maps.values() for name, extra in scores.extras.items()}


def _order(value: float) -> float | None:
    return None if isnan(value) else value


def matrix(scores: HeadScores) -> list[list[str]]:
    """Every value to two decimals, one row a layer from the last one down to layer 0, as the map shows them."""
    return [[words.number(value, 2) for value in row] for row in reversed(scores.values.tolist())]


def loss_rows(loss: RepeatLoss) -> list[tuple[str, str]]:
    """Each repeat and its loss with standard error."""
    return [(str(repeat), text) for repeat, text in enumerate(words.all_measured(loss.loss, loss.stderr), 1)]


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
