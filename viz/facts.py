"""The numbers behind the report's sentences; the words around them are the template's."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, nan

import numpy as np
import torch
from jaxtyping import Int64

from headcount.results import HeadScores, LayerScores, RepeatLoss
from headcount.viz import wording
from headcount.viz.contents import Contents, Setting

THRESHOLD = 0.5
FIRST = 10  # how many heads count as the most important
NAMED = 4  # of how many tasks the summary speaks


@dataclass(frozen=True)
class Strongest:
    """The head with the highest score of one measure.

    Attributes:
        label: Its name, such as L18H6.
        score: Its value with standard error, as text.
        n: Over how many sequences.
        ranks: Its rank in each other measure, by that measure's title.
    """

    label: str
    score: str
    n: int
    ranks: Mapping[str, str]


@dataclass(frozen=True)
class Control:
    """One measure on the model and on random weights.

    Attributes:
        title: The measure's name.
        model: Highest score, mean score and the number of heads above the threshold.
        random: The same with random weights.
        beyond: How many of the model's heads score higher than every head with random weights.
        total: The number of heads.
    """

    title: str
    model: tuple[str, str, str]
    random: tuple[str, str, str]
    beyond: int
    total: int


def strongest(maps: Mapping[str, HeadScores]) -> dict[str, Strongest]:
    """The highest head of each measure; measures without a single measured head are left out."""
    orders = {measure: ranks(scores) for measure, scores in maps.items()}
    found = {}
    for measure, scores in maps.items():
        for layer, head, value in scores.top(1):
            others = {
                wording.title_of(other): str(order.get((layer, head), wording.MISSING))
                for other, order in orders.items()
                if other != measure
            }
            error = nan if scores.stderr is None else float(scores.stderr[layer, head])
            text = wording.writer(scores)(value, error)
            found[measure] = Strongest(scores.label(layer, head), text, scores.n, others)
    return found


def head_titles(found: Contents) -> dict[str, str]:
    """The maps of all heads by their figures' names, and what people call them."""
    importance = wording.title_of("head_importance")
    named = {measure: wording.title_of(measure) for measure in found.maps}
    return named | {f"heads/{setting.name}": f"{importance}: {setting.title}" for setting in found.heads}


def ranks(scores: HeadScores | LayerScores) -> dict[tuple[int, ...], int]:
    """The rank of every measured head by (layer, head), or layer by (layer,), 1 for the highest score."""
    return {tuple(position): rank for rank, (*position, _) in enumerate(scores.top(scores.values.numel()), 1)}


def first_heads(found: Contents) -> Int64[np.ndarray, " head"]:
    """Flat indices of all heads whose attention was recorded, those first that rank high in one of the scores."""
    if not found.attention:
        return np.empty(0, np.int64)
    n_layers, n_heads = next(iter(found.attention.values())).shape
    best = np.full(n_layers * n_heads, n_layers * n_heads)
    for scores in (*found.maps.values(), *list(found.heads.values())[:1]):
        for (layer, head), rank in ranks(scores).items():
            best[layer * n_heads + head] = min(best[layer * n_heads + head], rank)
    return np.argsort(best, kind="stable")


def above(*maps: HeadScores) -> int:
    """How many heads exceed the threshold in every one of the maps."""
    return int(torch.stack([scores.values > THRESHOLD for scores in maps]).all(0).sum())


def highest(scores: HeadScores) -> list[str]:
    """The names of the heads above the threshold, the highest first, and no more than the first few."""
    return [scores.label(*place) for *place, value in scores.top(FIRST) if value > THRESHOLD]


@dataclass(frozen=True)
class Learnt:
    """The heads that score higher in both halves of induction than every head with random weights.

    Attributes:
        count: How many there are.
        first: The first few by the worse of their two ranks: name, and ranks in prefix matching and copying.
    """

    count: int
    first: Sequence[tuple[str, tuple[int, int]]]


def beyond_random(found: Contents) -> Learnt | None:
    """Heads beyond random weights in prefix matching and in copying; None without both scores and their controls."""
    measures = ("prefix_matching", "copying")
    if not all(measure in found.maps and measure in found.control for measure in measures):
        return None
    maps = [found.maps[measure] for measure in measures]
    random = [found.control[measure].values.nan_to_num(-inf).max() for measure in measures]
    beyond = (maps[0].values > random[0]) & (maps[1].values > random[1])
    prefix, copying = (ranks(scores) for scores in maps)
    both = sorted((tuple(place) for place in beyond.nonzero().tolist()), key=lambda at: max(prefix[at], copying[at]))
    return Learnt(len(both), [(maps[0].label(*place), (prefix[place], copying[place])) for place in both[:NAMED]])


def controls(maps: Mapping[str, HeadScores], random: Mapping[str, HeadScores]) -> list[Control]:
    """The model beside random weights, for each measure that has both."""
    return [_control(measure, scores, random[measure]) for measure, scores in maps.items() if measure in random]


def _control(measure: str, scores: HeadScores, random: HeadScores) -> Control:
    highest = max((value for *_, value in random.top(1)), default=nan)
    beyond = int((scores.values > highest).sum())
    return Control(wording.title_of(measure), _spread(scores), _spread(random), beyond, scores.values.numel())


def learns(loss: RepeatLoss) -> bool:
    """Whether the loss late in the sequence lies below the early one by more than two standard errors."""
    return loss.late_minus_early + 2 * loss.late_minus_early_stderr < 0


def _spread(scores: HeadScores) -> tuple[str, str, str]:
    best = "".join(f"{wording.number(value)} ({scores.label(*position)})" for *position, value in scores.top(1))
    return best or wording.MISSING, wording.number(scores.values.nanmean().item()), str(above(scores))


def without_verdict(found: Contents, setting: Setting, scores: HeadScores | LayerScores) -> list[str]:
    """Which tasks of a setting were measured to be at chance, so that nothing can be said of what they need.

    Args:
        found: All results.
        setting: A task or a mean over tasks.
        scores: What was measured there; a mean's provenance lists its tasks.
    """
    names = tasks_of(scores) if setting.is_mean else [setting.task]
    measured = {name: found.accuracy.get(Setting(name, setting.shots)) for name in names}
    return [name for name, accuracy in measured.items() if accuracy is not None and not accuracy.beats_guessing]


def most_important(found: Contents) -> list[tuple[Setting, Strongest]]:
    """The head with the highest importance for each of the first few tasks."""
    tasks = [(setting, scores) for setting, scores in found.heads.items() if not setting.is_mean]
    best = [(setting, strongest({"head_importance": scores})) for setting, scores in tasks[:NAMED]]
    return [(setting, head["head_importance"]) for setting, head in best if head]


def tasks_of(mean: HeadScores | LayerScores) -> list[str]:
    """The tasks that a mean's provenance lists, as names or as entries with a name; a file may hold anything there."""
    listed = mean.provenance.get("tasks")
    entries = listed if isinstance(listed, list) else []
    names = [entry.get("name") if isinstance(entry, dict) else entry for entry in entries]
    return [name for name in names if isinstance(name, str)]


@dataclass(frozen=True)
class Overlap:
    """How many of the most important heads are also among the highest in another measure.

    Attributes:
        setting: Where importance was measured.
        count: How many heads both have among their first.
        first: How many heads of each were compared.
        expected: How many would be in both if the importance had nothing to do with the measure.
    """

    setting: Setting
    count: int
    first: int
    expected: float


def overlap(found: Contents, measure: str) -> Overlap | None:
    """The overlap of importance with a measure: of the mean over tasks if there is one, else of the first task."""
    other = found.maps.get(measure)
    settings = sorted(found.heads, key=lambda setting: setting.task != "mean")  # the order is kept otherwise
    if other is None or not settings:
        return None
    total = other.values.numel()
    first = min(FIRST, total)
    tops = [{tuple(place) for *place, _ in scores.top(first)} for scores in (found.heads[settings[0]], other)]
    return Overlap(settings[0], len(tops[0] & tops[1]), first, first * first / total)
