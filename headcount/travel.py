"""Code that travels: a request to a server carries the source of what is done there, since this toolkit is not there.

What is marked with `travels` runs wherever the model is, here or on a server that has torch and nnsight. It therefore
keeps to these rules, which `tests/tracing/test_travel.py` checks for everything that is marked:

* functions and plain classes only: the generated methods of dataclasses, enumerations and named tuples have no source;
* annotations are text (`from __future__ import annotations`), so that no type must exist on the other side;
* names from outside are torch and the standard library, other marked code, and constants;
* no state but in arguments and attributes.
"""

from __future__ import annotations

from typing import Any, TypeVar

Marked = TypeVar("Marked")

TRAVELLERS: list[Any] = []
"""Everything that is marked, in the order of definition."""


def travels(code: Marked) -> Marked:
    """Mark a function or class whose source may be sent to a server."""
    TRAVELLERS.append(code)
    return code
