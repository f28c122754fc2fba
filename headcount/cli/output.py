"""The last line of a command that measures, or its JSON."""

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headcount.results import Run
    from headcount.study import Unit
    from headcount.target import Target


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


def measure_training(
    target: "Target",
    revisions: Sequence[str],
    unit_of: Callable[[Any], "Unit"],
    as_json: bool,
    score: str = "induction",
) -> None:
    """Measure a unit at several checkpoints, draw a score over training, and print where the highest heads form.

    Args:
        target: The model, and the folder that takes a run for each checkpoint.
        revisions: The checkpoints.
        unit_of: Returns the unit of a model.
        as_json: True prints JSON.
        score: The score to draw, on random tokens.
    """
    from headcount import viz
    from headcount.cli.tables import json_safe, print_rows, print_text
    from headcount.study import measure_checkpoints, scores_over_training, training_table

    runs = measure_checkpoints(target, revisions, lambda model: [unit_of(model)])
    path = viz.over_training(scores_over_training(runs)[score]).save(target.out / "over_training.html")
    rows = training_table(runs).records()
    if as_json:
        print_json(json_safe({"out": str(target.out), "steps": list(runs), "figure": str(path), "rows": rows}))
        return
    print_rows([{**row, "sure": "yes" if row["sure"] else "no"} for row in rows])
    print_text(f"{len(runs)} checkpoints in {target.out}; {path}")
