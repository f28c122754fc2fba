"""Which attention heads and feed-forward networks does in-context learning need? Everything under one name.

`import headcount as hc` gives every public name of the rooms, and the rooms themselves (`hc.viz.heads(scores)`). They
are imported when first used, so that the command line answers at once.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # what `__getattr__` finds, for editors and type checkers
    import importance as importance
    import induction as induction
    import results as results
    import tracing as tracing
    import viz as viz
    from importance import *  # noqa: F403
    from induction import *  # noqa: F403
    from results import *  # noqa: F403
    from tracing import *  # noqa: F403

ROOMS = ("importance", "induction", "results", "tracing", "viz")


def __getattr__(name: str) -> Any:
    """A room, or a public name of one."""
    if name in ROOMS:
        return import_module(name)
    if not name.startswith("_"):
        for room in ROOMS[:-1]:  # the figures stay under `viz`, where a name like `heads` says what it is
            module = import_module(room)
            if name in module.__all__:
                return getattr(module, name)
    raise AttributeError(f"headcount has no {name!r}")


def __dir__() -> list[str]:
    return sorted({*ROOMS, *(name for room in ROOMS[:-1] for name in import_module(room).__all__)})
