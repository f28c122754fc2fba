"""Overlap of the highest heads of two measurements, and the overlap that chance would give."""

from itertools import groupby

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import stats

from headcount.results import InputError, Overlap
from headcount.stats import resampling
from headcount.stats.aligned import Aligned, Scores, Within, align, check_resamples

Groups = list[tuple[int, int, int]]
"""For each group of entries: its size, the number that the first side takes, and that of the second."""


def overlap(
    a: Scores, b: Scores, top: float = 0.3, *, within: Within = None, resamples: int = 1000, seed: int = 0
) -> Overlap:
    """Return the share of the k highest heads of one set of scores that are among the k highest of the other.

    k = floor(top · N); ties go by position. Chance is k / N on average; its distribution is hypergeometric, and so is,
    layer by layer, that of the null, which leaves each layer as many highest heads as it has. Both are exact. The
    interval is fraction ± t · s, with s the spread over resampled examples, as for `spearman`.

    Args:
        a: Scores of heads, or of layers.
        b: Scores of the same shape.
        top: The part of the heads that counts as highest, above 0 and at most 1.
        within: None, or `"layer"` for the highest floor(top · H) of the H heads of each layer.
        resamples: The number of times examples are resampled; 0 leaves out the interval.
        seed: Seed of that.

    Returns:
        The share, 0..1, with interval, chance and null; it is the same for (a, b) and (b, a).

    Raises:
        InputError: Shapes differ, `top` is out of range or takes no head, or fewer than three heads are left.

    Source: Bansal et al. 2023, who report it for the top 30 %.
    """
    if isinstance(top, bool) or not 0 < top <= 1:
        raise InputError(f"top must be above 0 and at most 1 (0.3 for the highest 30 %), not {top}")
    check_resamples(resamples)
    aligned = align({"a": a, "b": b})
    layers = aligned.ranked_in(within)
    pool = np.zeros(aligned.n, int) if layers is None else layers
    chosen = highest(aligned.values, pool, top)
    n_top = int(chosen[0].sum())
    if n_top == 0:
        raise InputError(f"top={top} takes none of {aligned.n} entries{' in any layer' if within else ''}; raise top")
    shared = int(chosen.all(0).sum())
    fraction = shared / n_top
    low, high = _interval(fraction, aligned, pool, top, resamples, seed)
    chance, chance_low, chance_high, p_value = _by_chance(shared, _groups(pool, chosen))
    structure = None if aligned.layers is None else _groups(aligned.layers, chosen)
    null_mean, null_low, null_high, null_p = _by_chance(shared, structure)
    return Overlap(
        fraction=fraction,
        chance=chance,
        n_top=n_top,
        n=aligned.n,
        p_value=p_value,
        chance_low=chance_low,
        chance_high=chance_high,
        low=low,
        high=high,
        null_mean=null_mean,
        null_low=null_low,
        null_high=null_high,
        null_p=null_p,
        top=float(top),
        within=within,
    )


def highest(
    values: Float[np.ndarray, "*batch entry"], layers: Int[np.ndarray, " entry"], top: float
) -> Bool[np.ndarray, "*batch entry"]:
    """Return True for the highest floor(top · size) entries of each layer, ties by position."""
    _, sizes = np.unique(layers, return_counts=True)
    place = np.concatenate([np.arange(size) for size in sizes])
    # 0.29 · 100 is 28.999999999999996 in floating point, and means 29.
    takes = place < np.repeat(np.floor(top * sizes + 1e-9), sizes)
    descending = np.argsort(np.argsort(-values, axis=-1, kind="stable"), axis=-1)
    order = np.argsort(descending + layers * values.shape[-1], axis=-1)
    chosen = np.zeros(values.shape, bool)
    np.put_along_axis(chosen, order, np.broadcast_to(takes, values.shape), axis=-1)
    return chosen


def shared_by_chance(groups: Groups) -> Float[np.ndarray, " shared"]:
    """Return the probability of 0, 1, .. shared entries if both sides draw their number from each group at random."""
    odds = np.ones(1)
    for size, first, second in groups:
        support = np.arange(min(first, second) + 1)
        odds = np.convolve(odds, stats.hypergeom.pmf(support, size, first, second))
    return odds


def _groups(layers: Int[np.ndarray, " entry"], chosen: Bool[np.ndarray, "2 entry"]) -> Groups:
    rows = zip(layers.tolist(), *chosen.tolist(), strict=True)
    return [
        (len(members), sum(first for _, first, _ in members), sum(second for _, _, second in members))
        for members in (list(group) for _, group in groupby(rows, key=lambda row: row[0]))
    ]


def _by_chance(shared: int, groups: Groups | None) -> tuple[float, float, float, float]:
    """Return the mean share, bounds of its middle 95 %, and the probability of at least as many shared."""
    if groups is None:
        return (np.nan,) * 4
    odds = shared_by_chance(groups)
    n_top = sum(first for _, first, _ in groups)
    mean = sum(first * second / size for size, first, second in groups) / n_top
    low, high = np.searchsorted(odds.cumsum(), [(1 - resampling.LEVEL) / 2, (1 + resampling.LEVEL) / 2]) / n_top
    return mean, float(low), float(high), min(1.0, float(odds[shared:].sum()))


def _interval(
    fraction: float, aligned: Aligned, pool: Int[np.ndarray, " entry"], top: float, resamples: int, seed: int
) -> tuple[float, float]:
    freedom = aligned.freedom()[0, 1]
    if not resamples or np.isnan(freedom):
        return np.nan, np.nan
    rng = np.random.default_rng(seed)
    shares = []
    for count in resampling.chunks(resamples, aligned.values.size):
        first, second = (
            highest(resampling.resampled(row, folds, count, rng), pool, top)
            for row, folds in zip(aligned.values, aligned.folds, strict=True)
        )
        shares.append((first & second).sum(-1) / first.sum(-1))
    reach = stats.t.ppf((1 + resampling.LEVEL) / 2, freedom) * np.concatenate(shares).std(ddof=1)
    return float(max(0, fraction - reach)), float(min(1, fraction + reach))
