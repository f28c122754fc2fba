"""The detectors of an atlas: those of the toolkit, and a person's own, registered by name."""

from __future__ import annotations

import importlib.util
import inspect
import os
import sys
from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from headcount.induction.formulas.head_detectors import DETECTORS, weighted_attention
from headcount.remote_code import runs_remotely
from headcount.results import InputError
from headcount.results.internal import check_score_name

Function = TypeVar("Function", bound=Callable[..., Any])

POSITIONS, ROWS = ("query", "key"), ("pattern", "query", "tokens")
"""The arguments of the two forms of detectors."""

_registered: dict[str, Callable[..., Any]] = {}


class Detector(NamedTuple):
    """A score of heads.

    Attributes:
        name: Its name.
        function: The function of positions, or of a pattern's rows.
        of_positions: True for a function of positions.
    """

    name: str
    function: Callable[..., Any]
    of_positions: bool

    @property
    def definition(self) -> str:
        """The first line of the function's docstring."""
        return (inspect.getdoc(self.function) or self.name).splitlines()[0].rstrip(".")


def register_detector(function: Function) -> Function:
    """Add a detector of your own to every atlas that is measured from now on; a decorator.

    The function's name becomes the score's, and the first line of its docstring its definition. Another function of the
    same name is replaced. It has one of two forms, told apart by the names of its arguments:

    * `(query, key)`: positions, as tensors [row, 1] and [1, key], to the weight of each key, or True for keys that
      count, [row, key]. The score is the mean of Σ_k A[j, k] w(j, k) over the queries j for which w is not 0
      throughout;
    * `(pattern, query, tokens)`: some rows of the patterns [batch, head, row, key], the position of each row [row], and
      the tokens [batch, key], to a number for each row, [batch, head, row], NaN for queries that do not count. The
      score is the mean over those that do. See `headcount.induction.formulas.head_detectors`.

    It uses torch alone, since it may run on a server.

    Args:
        function: The detector.

    Returns:
        The function.

    Raises:
        InputError: It has other arguments, its name is taken or is no word, or it does not return such numbers.
    """
    name = getattr(function, "__name__", "")
    check_score_name(name)
    if name in {detector.__name__ for detector in DETECTORS}:
        raise InputError(f"{name} is a detector of headcount's own: choose another name")
    arguments = tuple(inspect.signature(function).parameters)
    if arguments not in (POSITIONS, ROWS):
        raise InputError(
            f"{name}: expected a function of ({', '.join(POSITIONS)}) or of ({', '.join(ROWS)}), "
            f"got one of ({', '.join(arguments)})"
        )
    _try(Detector(name, function, arguments == POSITIONS))
    runs_remotely(function)
    _registered[name] = function
    return function


def every_detector() -> list[Detector]:
    """Return all detectors: the toolkit's, then those that were registered."""
    registered = [
        Detector(name, function, tuple(inspect.signature(function).parameters) == POSITIONS)
        for name, function in _registered.items()
    ]
    return [*(Detector(function.__name__, function, False) for function in DETECTORS), *registered]


def load_detectors(path: str | PathLike[str]) -> list[str]:
    """Run a Python file that registers detectors, and return the names of those that it registered.

    Raises:
        InputError: There is no such file, it fails, or it registers none.
    """
    file = Path(os.path.expanduser(path))
    if not file.is_file():
        raise InputError(f"{file}: expected a Python file that registers detectors, got nothing there")
    before = dict(_registered)
    specification = importlib.util.spec_from_file_location(f"headcount_detectors_{file.stem}", file)
    if specification is None or specification.loader is None:
        raise InputError(f"{file}: expected a Python file, whose name ends in .py")
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module  # where the source of its functions is looked for
    try:
        specification.loader.exec_module(module)
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{file} fails: {type(error).__name__}: {error}") from error
    names = [name for name, function in _registered.items() if before.get(name) is not function]
    if not names:
        raise InputError(f"{file} registers no detector: decorate a function with headcount.register_detector")
    return names


def forget_detector(name: str) -> None:
    """Remove a registered detector.

    Raises:
        InputError: There is none of this name.
    """
    if name not in _registered:
        raise InputError(f"no detector {name!r} was registered: there are {', '.join(_registered) or 'none'}")
    del _registered[name]


def _try(detector: Detector) -> None:
    """Call a detector on uniform attention, in two blocks of rows.

    Raises:
        InputError: It fails, or returns something else than a number for each row.
    """
    pattern = torch.ones(2, 3, 6, 6).tril() / torch.arange(1, 7)[:, None]
    tokens = torch.tensor([[1, 5, 6, 5, 6, 5], [1, 2, 3, 4, 2, 3]])
    for rows in (slice(0, 4), slice(4, 6)):
        part, query, seen = pattern[:, :, rows, : rows.stop], torch.arange(6)[rows], tokens[:, : rows.stop]
        try:
            if detector.of_positions:
                values = weighted_attention(detector.function, part, query)
            else:
                values = detector.function(part, query, seen)
        except Exception as error:
            raise InputError(
                f"{detector.name} fails on a pattern of {list(part.shape)}: {type(error).__name__}: {error}"
            ) from error
        if not isinstance(values, Tensor) or values.shape != part.shape[:3]:
            got = list(values.shape) if isinstance(values, Tensor) else type(values).__name__
            raise InputError(
                f"{detector.name}: expected a number for each row, [batch, head, row] = {list(part.shape[:3])}, "
                f"got {got}"
            )
