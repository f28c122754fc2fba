"""The share of a study that one process measures: for job arrays on a shared directory, or several processes here."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from headcount.results import InputError
from headcount.study.units import Unit


class Share(NamedTuple):
    """One of several shares.

    Attributes:
        number: Which one, from 1.
        of: How many there are.
    """

    number: int
    of: int


class Divided(NamedTuple):
    """A study's units as one process sees them.

    Attributes:
        mine: Those that it measures, if what they need is there.
        elsewhere: Those that others measure.
    """

    mine: list[Unit]
    elsewhere: list[Unit]


def parse_share(text: str) -> Share:
    """A share such as "3/16".

    Raises:
        InputError: It is no such thing.
    """
    found = re.fullmatch(r"([1-9][0-9]{0,5})/([1-9][0-9]{0,5})", text)
    share = Share(*map(int, found.groups())) if found else Share(0, 0)
    if not 1 <= share.number <= share.of:
        raise InputError(f"--shard must be like 3/16, from 1/16 to 16/16, not {text!r:.40}")
    return share


def divide(units: Sequence[Unit], weights: Sequence[float], share: Share) -> Divided:
    """The units of a share: the same in every process, whatever is finished already.

    Units of one group stay together; the heaviest group goes to the share with the least so far, then the next. What
    runs no model is nobody's own, and every share measures it as soon as it can: first what its own units need, the
    rest when they are finished.

    Args:
        units: All units of the study, in order.
        weights: How long each takes.
        share: Which share.
    """
    owner = _owners(units, weights, share.of)
    mine = [unit for unit in units if owner.get(_group(unit), share.number) == share.number]
    needed = {name for unit in mine if unit.runs_model for name in unit.needs}
    mine.sort(key=lambda unit: not unit.runs_model and needed.isdisjoint(unit.names))
    return Divided(mine, [unit for unit in units if owner.get(_group(unit), share.number) != share.number])


def _owners(units: Sequence[Unit], weights: Sequence[float], shares: int) -> dict[str, int]:
    """The number of the share of every group that runs the model."""
    heavy: dict[str, float] = {}
    for unit, weight in zip(units, weights, strict=True):
        if unit.runs_model:
            heavy[_group(unit)] = heavy.get(_group(unit), 0.0) + weight
    loads = [0.0] * shares
    owner = {}
    for group in sorted(heavy, key=heavy.__getitem__, reverse=True):  # a stable order, the study's own among equals
        lightest = loads.index(min(loads))
        owner[group] = lightest + 1
        loads[lightest] += heavy[group]
    return owner


def _group(unit: Unit) -> str:
    return unit.group or unit.names[0]
