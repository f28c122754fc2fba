"""A curve of removal in one number: the area under it, and the faithfulness of what is left."""

from typing import Literal, NamedTuple, get_args

import numpy as np
from jaxtyping import Float

from headcount.results import InputError, PruningCurve
from headcount.stats import resampling

Measure = Literal["correct", "greedy", "gold_log_p"]

RESAMPLES = 2000


class Area(NamedTuple):
    """The area under a curve of removal.

    Attributes:
        value: The mean height of the curve between its first and last percentage, by trapezoids.
        stderr: Its standard error over documents (units, for `correct`), which all steps share.
    """

    value: float
    stderr: float


class Faithfulness(NamedTuple):
    """The faithfulness of what is left, over all shares of heads that are removed.

    With m the mean of a measure, f(step) = (m(step) - m(all removed)) / (m(whole) - m(all removed)).

    Attributes:
        cpr: The area under f: 1 if nothing is lost before the last head goes; above 1 where removal helps.
        cmd: The area between f and 1, whichever is above: 0 if the model behaves as the whole one throughout.
        cpr_interval: 95 % interval of `cpr`, from resampled documents.
        cmd_interval: The same of `cmd`.
    """

    cpr: float
    cmd: float
    cpr_interval: tuple[float, float]
    cmd_interval: tuple[float, float]


def area(curve: PruningCurve, measure: Measure = "gold_log_p", minus: PruningCurve | None = None) -> Area:
    """Return the area under a curve of removal, or the difference of two areas on the same documents.

    Args:
        curve: The curve; random orders count as their mean.
        measure: `correct` (accuracy), `greedy` (exact match) or `gold_log_p` (nats).
        minus: Another curve, of the same percentages and documents, whose area is taken away; the error is then that of
            the paired differences.

    Raises:
        InputError: The curve has a single step or lacks the measure, or the two do not fit each other.
    """
    heights = _by_document(curve, measure)
    if minus is not None:
        _check_pair(curve, minus)
        heights = heights - _by_document(minus, measure)
    areas = _widths(curve) @ heights
    n = len(areas)
    return Area(float(areas.mean()), float(areas.std(ddof=1) / np.sqrt(n)) if n > 1 else np.nan)


def faithfulness(curve: PruningCurve, measure: Measure = "gold_log_p", seed: int = 0) -> Faithfulness:
    """Return the areas by which the field judges circuits: CPR and CMD, of what is left as heads are removed.

    Args:
        curve: A curve that ends at 100 %.
        measure: As of `area`.
        seed: Seed of the resampled documents.

    Raises:
        InputError: The curve does not end at 100 %, or the whole model is no better than one without any head.

    Source: Mueller et al. 2025, "MIB: A Mechanistic Interpretability Benchmark" (circuit performance ratio, and
    circuit-model distance), with shares of heads in place of shares of edges.
    """
    if curve.percents[-1] < 100:
        raise InputError(f"faithfulness needs a curve that ends at 100 %, not at {curve.percents[-1]:g} %")
    heights = _by_document(curve, measure)
    widths = _widths(curve)
    cpr, cmd = _areas_of_faithfulness(heights.mean(1)[None], widths)
    if np.isnan(cpr[0]):
        raise InputError(f"the whole model is no better than one without heads by {measure}: nothing is lost")
    n = heights.shape[1]
    shares = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), RESAMPLES) / n
    resampled = _areas_of_faithfulness(shares @ heights.T, widths)
    bounds = [tuple(np.nanquantile(draws, resampling.BOUNDS).tolist()) for draws in resampled]
    return Faithfulness(float(cpr[0]), float(cmd[0]), *bounds)


def _areas_of_faithfulness(
    means: Float[np.ndarray, "resample step"], widths: Float[np.ndarray, " step"]
) -> tuple[Float[np.ndarray, " resample"], Float[np.ndarray, " resample"]]:
    """Return CPR and CMD; NaN where nothing is lost from the first step to the last."""
    lost = means[:, :1] - means[:, -1:]
    share = np.where(lost > 0, (means - means[:, -1:]) / np.where(lost > 0, lost, 1), np.nan)
    return share @ widths, np.abs(1 - share) @ widths


def _by_document(curve: PruningCurve, measure: Measure) -> Float[np.ndarray, "step document"]:
    """Return a measure of every document at every step, the mean over random orders."""
    if measure not in get_args(Measure):
        raise InputError(f"measure must be one of {', '.join(get_args(Measure))}, not {measure!r}")
    values = getattr(curve, measure)
    if values is None:
        raise InputError("the curve is from an earlier version, which did not record greedy exact match: measure again")
    heights: Float[np.ndarray, "step document"] = values.double().mean(0).numpy()
    return heights


def _widths(curve: PruningCurve) -> Float[np.ndarray, " step"]:
    """Return the weight of each step in the mean height; they sum to 1."""
    percents = np.array(curve.percents)
    if len(percents) < 2:
        raise InputError("an area needs a curve of two steps or more")
    gaps = np.diff(percents)
    return (np.append(gaps, 0) + np.append(0, gaps)) / (2 * (percents[-1] - percents[0]))


def _check_pair(curve: PruningCurve, other: PruningCurve) -> None:
    if curve.percents != other.percents or curve.gold_log_p.shape[-1] != other.gold_log_p.shape[-1]:
        raise InputError(
            "two areas are compared on the same documents and percentages: "
            f"{curve.gold_log_p.shape[-1]} at {curve.percents} and {other.gold_log_p.shape[-1]} at {other.percents}"
        )
