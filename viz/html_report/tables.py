"""The report's tables as plain text: the highest heads, every value of a map, and where the numbers come from."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isnan, nan
from typing import Any

from torch import Tensor

from headcount.results import Accuracy, HeadScores, LayerScores, RepeatLoss, Run
from headcount.viz import facts, wording
from headcount.viz.contents import Contents, Setting

HIGHEST = 12
FULL = 8  # more results than this, and each one's own provenance is folded
PRINTED = 80  # more than this, and it is not printed: two results fill a sheet


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
    scores = [heading for measure in maps for heading in (wording.title_of(measure), "rank")]
    return ["head", *scores, *(wording.title_of(name) for name in _extras(maps))]


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
    texts = wording.written(scores)
    return [Cell(text, _order(value)) for text, value in zip(texts, scores.values.flatten().tolist(), strict=True)]


def _rank_column(scores: HeadScores) -> list[Cell]:
    ranks = facts.ranks(scores)
    places = (ranks.get(divmod(index, scores.shape[1])) for index in range(scores.values.numel()))
    return [Cell(wording.MISSING if rank is None else str(rank), rank) for rank in places]


def _extra_column(extra: Tensor) -> list[Cell]:
    return [Cell(wording.number(value, 2), _order(value)) for value in extra.flatten().tolist()]


def _extras(maps: Mapping[str, HeadScores]) -> dict[str, Tensor]:
    """Each extra once, though several measures may carry it."""
    return {name: extra for scores in maps.values() for name, extra in scores.extras.items()}


def _order(value: float) -> float | None:
    return None if isnan(value) else value


def important_columns(scores: HeadScores, maps: Mapping[str, HeadScores]) -> list[str]:
    """The headings that go with `important_rows`."""
    others = [heading for measure in _compared(maps) for heading in (wording.title_of(measure).lower(), "rank")]
    return ["rank", "head", wording.quantity(scores), *others]


def important_rows(
    heads: Mapping[Setting, HeadScores], maps: Mapping[str, HeadScores]
) -> dict[Setting, list[list[str]]]:
    """The most important heads of each setting, and how they do as induction heads.

    Args:
        heads: The importance of all heads.
        maps: Scores of the same heads by measure; any of them may be missing.

    Returns:
        By setting, one row a head: its rank, its label, its importance with standard error, then its score and rank in
        each of the other measures.
    """
    others = [_describer(other) for other in _compared(maps).values()]
    return {setting: _important(scores, others) for setting, scores in heads.items()}


Describer = Callable[[int, int], tuple[str, str]]


def _important(scores: HeadScores, others: Sequence[Describer]) -> list[list[str]]:
    write, stderr = wording.writer(scores), scores.stderr
    rows = []
    for rank, (layer, head, value) in enumerate(scores.top(facts.FIRST), 1):
        text = write(value, nan if stderr is None else float(stderr[layer, head]))
        described = [part for other in others for part in other(layer, head)]
        rows.append([str(rank), scores.label(layer, head), text, *described])
    return rows


def _describer(scores: HeadScores) -> Describer:
    """Gives a head's score with standard error, and its rank, as text."""
    ranks, write, values = facts.ranks(scores), wording.writer(scores), scores.values.tolist()
    errors = None if scores.stderr is None else scores.stderr.tolist()

    def describe(layer: int, head: int) -> tuple[str, str]:
        text = write(values[layer][head], nan if errors is None else errors[layer][head])
        return text, str(ranks.get((layer, head), wording.MISSING))

    return describe


def _compared(maps: Mapping[str, HeadScores]) -> dict[str, HeadScores]:
    """The measures that make an induction head."""
    return {measure: maps[measure] for measure in ("prefix_matching", "copying") if measure in maps}


def ffn_columns(scores: LayerScores) -> list[str]:
    """The headings that go with `ffn_rows`."""
    return ["layer", wording.quantity(scores), *(wording.title_of(name).lower() for name in scores.extras)]


def ffn_rows(scores: LayerScores) -> list[list[str]]:
    """Each layer: the drop in accuracy without its network with standard error, and the extras."""
    columns = [wording.all_measured(extra, None) for extra in scores.extras.values()]
    return [
        [str(layer), text, *(column[layer] for column in columns)] for layer, text in enumerate(wording.written(scores))
    ]


TASK_COLUMNS = ("task", "shots", "accuracy", "chance", "majority", "n", "cut", "verdict")


def task_rows(accuracy: Mapping[Setting, Accuracy]) -> list[list[str]]:
    """Each task at each number of shots, and whether the model solves it at all; headings are `TASK_COLUMNS`."""
    return [
        [
            setting.task,
            str(setting.shots),
            wording.measured(result.value, result.stderr),
            *(wording.number(blind) for blind in (result.chance, result.majority)),
            *(str(count) for count in (result.n, result.cut)),
            "above chance" if result.beats_guessing else "no verdict: not above chance",
        ]
        for setting, result in accuracy.items()
    ]


def matrix(scores: HeadScores) -> list[list[str]]:
    """Every value to two decimals, one row a layer from the last one down to layer 0, as the map shows them."""
    return [[wording.number(value, 2) for value in row] for row in reversed(scores.values.tolist())]


def loss_rows(loss: RepeatLoss) -> list[tuple[str, str]]:
    """Each repeat and its loss with standard error."""
    return [(str(repeat), text) for repeat, text in enumerate(wording.all_measured(loss.loss, loss.stderr), 1)]


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
