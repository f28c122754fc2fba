"""The last line of a command that measures, or its JSON."""

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headcount.results import Run
    from headcount.study import Unit


def print_json(value: Any) -> None:
    """Print a value as JSON."""
    print(json.dumps(value, indent=2))


def measure_and_print(
    units: Sequence["Unit"],
    run: "Run",
    as_json: bool,
    then: Callable[["Run"], list["Unit"]] | None = None,
    elsewhere: Sequence["Unit"] = (),
    *,
    replace: bool = False,
) -> None:
    """Measure the units that the run does not have yet, then those that follow from its results, and print a summary.

    Args:
        units: The units.
        run: The run.
        as_json: True prints JSON.
        then: Returns the units that follow from the run's results.
        elsewhere: Units that other processes measure.
        replace: True measures again what the run has with other settings.
    """
    from headcount.study import measure_units

    measured = measure_units(units, run, elsewhere, replace=replace)
    measured += measure_units(then(run), run, replace=replace) if then is not None else []
    print_measured(measured, run, as_json)


def print_measured(measured: list[str], run: "Run", as_json: bool) -> None:
    """Print the names of the results measured now, or their number."""
    if as_json:
        print_json({"out": str(run.folder), "measured": measured, "results": list(run.names)})
    else:
        print(
            f"{len(measured)} results measured, {len(run.names)} in {run.folder}. See them: headcount show {run.folder}"
        )
