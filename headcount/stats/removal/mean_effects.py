"""Sets of heads removed in several tasks: means over tasks, with errors over documents and intervals over tasks."""

from collections.abc import Mapping
from math import nan
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import stats

from headcount.results import InputError, SetEffects
from headcount.results.internal import SET_MEASURES
from headcount.stats.resampling import LEVEL

if TYPE_CHECKING:
    import pandas as pd


class MeanEffect(NamedTuple):
    """A paired difference by document, in the mean over tasks.

    Attributes:
        mean: The mean over tasks of each task's mean over documents.
        stderr: Its standard error over documents, the tasks taken as fixed; with random sets, also over their draws.
        low: The lower bound of its 95 % interval over tasks, by Student's t; NaN for a single task.
        high: The upper bound.
    """

    mean: float
    stderr: float
    low: float
    high: float


def mean_effects(effects: Mapping[str, SetEffects]) -> "pd.DataFrame":
    """Return what is left without the highest heads of each kind, in the mean over tasks.

    A set without the heads of other kinds stands for the whole set where they share no head. A task does not count in
    a row where the other kinds leave nothing of the set, or where the measure has no meaning (NaN).

    Args:
        effects: Answers by task, each with as many random sets.

    Returns:
        One row a kind, share, `without_others` and measure: `kind`, `percent`, `without_others`, `measure`, `tasks`
        (their number), `heads` (mean number), `whole`, `value`, `stderr`, `random` and `random_spread` (mean over the
        draws, and standard deviation from one to another), and `beyond_random`, the fall beyond that of random sets,
        with `beyond_random_stderr`, `_low` and `_high` as in `MeanEffect`.

    Raises:
        InputError: There is no task, or tasks have different numbers of random sets.
    """
    import pandas as pd

    _check(effects)
    columns = dict.fromkeys(
        (kind, percent, alone)
        for of_task in effects.values()
        for kind, percent in dict.fromkeys(zip(of_task.kinds, of_task.percents, strict=True))
        for alone in (False, True)
    )
    rows = []
    for kind, percent, alone in columns:
        indices = {task: set_index(of_task, kind, percent, alone) for task, of_task in effects.items()}
        sets = [(effects[task], index) for task, index in indices.items() if index is not None]
        for measure in SET_MEASURES:
            if known := [pair for pair in sets if not pair[0].whole_answers(measure).isnan().any()]:
                row = {"kind": kind, "percent": percent, "without_others": alone, "measure": measure}
                rows.append(row | _measured(known, measure))
    return pd.DataFrame(rows)


def kind_difference(
    effects: Mapping[str, SetEffects], first: str, second: str, percent: float, alone: bool, measure: str
) -> MeanEffect | None:
    """Return how much lower a measure is without one kind's heads than without another's, in the mean over tasks.

    Args:
        effects: Answers by task.
        first: A kind of heads; a mean above 0 says that its removal costs more.
        second: Another kind.
        percent: The share of heads that count as the highest.
        alone: True for the sets without the heads of other kinds.
        measure: One of those of `SetEffects`.

    Returns:
        The difference, paired by document; None if no task has both sets.
    """
    falls = []
    for of_task in effects.values():
        pair = [set_index(of_task, kind, percent, alone) for kind in (first, second)]
        if None not in pair:
            values = of_task.answers(measure)[:, 0].double().numpy()
            falls.append(values[pair[1]] - values[pair[0]])
    return _mean(falls) if falls else None


def set_index(effects: SetEffects, kind: str, percent: float, alone: bool) -> int | None:
    """Return the place of a set among a task's; None if it is empty or was not measured.

    A set without the other kinds' heads that is the whole set is not listed a second time: the place is then that of
    the whole one.
    """
    sets = zip(effects.kinds, effects.percents, effects.without_others, strict=True)
    places = {entry: place for place, entry in enumerate(sets)}
    whole = places.get((kind, percent, False))
    if not alone or whole is None or (kind, percent, True) in places:
        return places.get((kind, percent, alone))
    others = [place for (name, share, part), place in places.items() if share == percent and name != kind and not part]
    shared = (effects.heads[others].sum(0) * effects.heads[whole]).sum() > 0
    return None if shared else whole


def _measured(sets: list[tuple[SetEffects, int]], measure: str) -> dict[str, float]:
    values = [of_task.answers(measure)[index].double().numpy() for of_task, index in sets]  # [draw, document]
    left = _mean([of_task[0] for of_task in values])
    beyond = _mean([of_task[1:].mean(0) - of_task[0] for of_task in values])
    draws = np.mean([of_task[1:].mean(-1) for of_task in values], axis=0)
    spread = float(draws.std(ddof=1))
    wholes = [of_task.whole_answers(measure).double().mean() for of_task, _ in sets]
    row = {"tasks": len(sets), "heads": float(np.mean([float(of_task.heads[index].sum()) for of_task, index in sets]))}
    row["whole"] = float(np.mean(wholes))
    row |= {"value": left.mean, "stderr": left.stderr, "random": float(draws.mean()), "random_spread": spread}
    row |= {"beyond_random": beyond.mean, "beyond_random_low": beyond.low, "beyond_random_high": beyond.high}
    return row | {"beyond_random_stderr": float(np.hypot(beyond.stderr, spread / np.sqrt(len(draws))))}


def _mean(by_task: list[Float[np.ndarray, " document"]]) -> MeanEffect:
    means = np.array([values.mean() for values in by_task])
    errors = [values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else nan for values in by_task]
    n, mean = len(means), float(means.mean())
    reach = float(stats.t.ppf((1 + LEVEL) / 2, n - 1) * means.std(ddof=1) / np.sqrt(n)) if n > 1 else nan
    return MeanEffect(mean, float(np.sqrt(np.sum(np.square(errors)))) / n, mean - reach, mean + reach)


def _check(effects: Mapping[str, SetEffects]) -> None:
    if not effects:
        raise InputError("expected answers without sets of heads for at least one task, got none")
    draws = {task: of_task.gold_log_p.shape[1] - 1 for task, of_task in effects.items()}
    if len(set(draws.values())) > 1:
        raise InputError(f"a mean over tasks needs as many random sets in each, got {draws}: measure them alike")
