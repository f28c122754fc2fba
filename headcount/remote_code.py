"""Code that travels: a request to a server holds the source of the code that runs there, as it lacks this toolkit.

Functions and classes marked with `runs_remotely` run where the model is: in this process, or on a server that has torch
and nnsight. `tests/tracing/test_remote_code.py` checks that they follow these rules:

* functions and plain classes only: generated methods of dataclasses, enumerations and named tuples have no source;
* no decorators but `property`, `classmethod` and `staticmethod`: the source of the bare function travels;
* annotations are text (`from __future__ import annotations`), so that no type must exist on the server;
* global names, defaults, base classes and class attributes are torch, the standard library, other marked code, or
  constants; imports inside of functions are of torch, nnsight and the standard library;
* no `super()` outside of `__init__`, and no names that a class mangles: methods are compiled outside of their class;
* no state other than arguments and attributes of objects.
"""

from __future__ import annotations

from typing import Any, TypeVar

Marked = TypeVar("Marked")

REMOTE_CODE: list[Any] = []
"""All marked code, in the order of definition."""


def runs_remotely(code: Marked) -> Marked:
    """Mark a function or class whose source may be sent to a server."""
    REMOTE_CODE.append(code)
    return code
