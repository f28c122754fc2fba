"""The attention heads and feed-forward networks that in-context learning needs: everything under one name.

`import headcount as hc` gives the public names of the rooms (`hc.load_model`), and the rooms themselves
(`hc.viz.heads(scores)`). They are imported at their first use, so that the command line answers at once.
"""

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the names that `__getattr__` finds, for editors and type checkers
    from headcount import importance as importance
    from headcount import induction as induction
    from headcount import results as results
    from headcount import stats as stats
    from headcount import tracing as tracing
    from headcount import viz as viz
    from headcount.importance import *  # noqa: F403
    from headcount.induction import *  # noqa: F403
    from headcount.results import *  # noqa: F403
    from headcount.stats import *  # noqa: F403
    from headcount.tracing import *  # noqa: F403

# Threads that wait for each other by spinning keep other work, and one another, from the cores; threads that sleep at
# once are slower on idle cores. A short spin is as quick as torch's own way there, and quicker beside other work
# (benchmarks/contention.py). GNU's and Intel's threads read it once, as torch is imported.
if "torch" not in sys.modules and not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"} & os.environ.keys():
    os.environ.update(GOMP_SPINCOUNT="20000", KMP_BLOCKTIME="1")

_NAMED_HERE = ("results", "stats", "tracing", "induction", "importance")
"""The rooms whose public names are here too, the quickest to import first; figures stay under `hc.viz`."""

ROOMS = (*_NAMED_HERE, "viz")


def __getattr__(name: str) -> Any:
    """Return a room, or a public name of one."""
    if name in ROOMS:
        return import_module(f"headcount.{name}")
    if not name.startswith("_"):
        for room in _NAMED_HERE:
            module = import_module(f"headcount.{room}")
            if name in module.__all__:
                return getattr(module, name)
    raise AttributeError(f"headcount has no {name!r}")


def __dir__() -> list[str]:
    """Return the rooms and all public names."""
    return sorted({*ROOMS, *(name for room in _NAMED_HERE for name in import_module(f"headcount.{room}").__all__)})
