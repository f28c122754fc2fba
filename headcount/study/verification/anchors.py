"""The known numbers of models, read from `anchors.toml`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from typing import Any

from headcount.results import InputError
from headcount.study.toml_files import parse_toml

FILE = "anchors.toml"


@dataclass(frozen=True)
class KnownModel:
    """A model of which numbers are known.

    Attributes:
        name: Its name, by which it can be loaded.
        also: Other names of it.
        measured: True if this project measured the numbers; False if they are a publication's, and nothing was run.
        source: The source of the numbers.
        checks: The measurements, each with its settings and what must come out.
    """

    name: str
    measured: bool
    source: str
    also: Sequence[str] = ()
    checks: Sequence[Mapping[str, Any]] = ()

    @property
    def names(self) -> set[str]:
        """All names of it, in small letters."""
        return {name.lower() for name in (self.name, *self.also)}


@cache
def known_models() -> tuple[KnownModel, ...]:
    """Return all models of which numbers are known."""
    text = files("headcount.study.verification").joinpath(FILE).read_text(encoding="utf-8")
    return tuple(KnownModel(**entry) for entry in parse_toml(text, FILE)["model"])


def known_model(name: str) -> KnownModel:
    """Return a model by one of its names; of a path, its last part.

    Raises:
        InputError: No numbers are known of it.
    """
    last = name.rstrip("/\\").replace("\\", "/").rpartition("/")[2]
    for known in known_models():
        if {name.lower(), last.lower()} & known.names:
            return known
    names = [known.name for known in known_models()]
    close = get_close_matches(last.lower(), names, n=1)
    raise InputError(
        f"no numbers are known of {name!r}: expected one of {', '.join(names)}"
        + (f" (did you mean {close[0]}?)" if close else "")
        + "; for another place of one of these models pass --numbers-of too"
    )
