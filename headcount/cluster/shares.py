"""Shares of a study, one a process: for job arrays on a shared directory, or several processes on one machine."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from headcount.results import InputError
from headcount.study import Unit


class Share(NamedTuple):
    """One of several shares.

    Attributes:
        number: Its number, from 1.
        of: The number of shares.
    """

    number: int
    of: int


class DividedUnits(NamedTuple):
    """The units of a study, as one process sees them.

    Attributes:
        here: Units that this process measures, as soon as their needs are there.
        elsewhere: Units that other processes measure.
    """

    here: list[Unit]
    elsewhere: list[Unit]


def parse_share(text: str) -> Share:
    """Return a share from text such as "3/16".

    Raises:
        InputError: It has another form.
    """
    match = re.fullmatch(r"([1-9][0-9]{0,5})/([1-9][0-9]{0,5})", text)
    share = Share(*map(int, match.groups())) if match else Share(0, 0)
    if not 1 <= share.number <= share.of:
        raise InputError(f"--shard must be like 3/16, from 1/16 to 16/16, not {text!r:.40}")
    return share


def divide_units(units: Sequence[Unit], weights: Sequence[float], share: Share) -> DividedUnits:
    """Return the units of a share: the same in every process, whatever is finished already.

    Units of one group stay together; the heaviest group goes to the share with the least so far, then the next. Units
    that run no model belong to every share, which measures them as soon as it can: first those that its other units
    need, the rest when these are finished.

    Args:
        units: All units of the study, in order.
        weights: The time of each unit, in any unit of time.
        share: The share.
    """
    shares = _shares_of_groups(units, weights, share.of)
    is_here = [shares.get(_group(unit), share.number) == share.number for unit in units]
    here = [unit for unit, included in zip(units, is_here, strict=True) if included]
    needed = {name for unit in here if unit.runs_model for name in unit.needs}
    here.sort(key=lambda unit: not unit.runs_model and needed.isdisjoint(unit.names))
    return DividedUnits(here, [unit for unit, included in zip(units, is_here, strict=True) if not included])


def _shares_of_groups(units: Sequence[Unit], weights: Sequence[float], n_shares: int) -> dict[str, int]:
    """The number of the share of every group that runs the model."""
    group_weights: dict[str, float] = {}
    for unit, weight in zip(units, weights, strict=True):
        if unit.runs_model:
            group_weights[_group(unit)] = group_weights.get(_group(unit), 0.0) + weight
    loads = [0.0] * n_shares
    shares = {}
    # The order is stable: groups of equal weight stay in the study's order.
    for group in sorted(group_weights, key=group_weights.__getitem__, reverse=True):
        lightest = loads.index(min(loads))
        shares[group] = lightest + 1
        loads[lightest] += group_weights[group]
    return shares


def _group(unit: Unit) -> str:
    return unit.group or unit.names[0]
