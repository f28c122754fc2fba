"""A run's results in the terminal, or as values for a program."""

from typing import Any

from rich.console import Console
from rich.table import Table

from results import Accuracy, HeadScores, InputError, LayerScores, RepeatLoss, Run


def as_values(run: Run, top: int) -> dict[str, Any]:
    """Manifest and, for each result, its strongest heads or its numbers."""
    return {"manifest": run.manifest, "results": {name: _values(run, name, top) for name in run.names}}


def as_tables(run: Run, top: int) -> None:
    """Print the run's model and a table for each result."""
    console = Console()
    console.print(f"{run.folder}: {run.manifest['model']['name']}", markup=False, highlight=False)
    if not run.names:
        console.print(f"no results yet: headcount induction --out {run.folder}", markup=False, highlight=False)
    for name in run.names:
        console.print(_table(run, name, top))


def _values(run: Run, name: str, top: int) -> dict[str, Any]:
    try:
        result = run[name]
    except InputError as error:
        return {"damaged": str(error)}
    if isinstance(result, RepeatLoss):
        rows = result.to_frame().to_dict("records")
        return {"loss": rows, "late_minus_early": result.late_minus_early, "stderr": result.late_minus_early_stderr}
    if isinstance(result, Accuracy):
        numbers = {name: getattr(result, name) for name in ("value", "stderr", "n", "chance", "majority", "cut")}
        return {"task": result.provenance.get("task"), "top": [numbers]}
    return {"definition": result.definition, "n": result.n, "top": _top(result, top)}


def _top(scores: HeadScores | LayerScores, top: int) -> list[dict[str, Any]]:
    stderr = scores.stderr
    return [
        {
            "layer" if isinstance(scores, LayerScores) else "head": scores.label(*position),
            "value": value,
            "stderr": None if stderr is None else float(stderr[tuple(position)]),
            **{extra: float(values[tuple(position)]) for extra, values in scores.extras.items()},
        }
        for *position, value in scores.top(top)
    ]


def _table(run: Run, name: str, top: int) -> Table:
    values = _values(run, name, top)
    if "damaged" in values:
        table = Table("damaged", title=name)
        table.add_row(values["damaged"])
        return table
    if "loss" in values:
        title = f"{name}: late minus early {values['late_minus_early']:.3f} ± {values['stderr']:.3f} nats"
        return _filled(title, values["loss"])
    title = f"{name} ({values['definition']}, n = {values['n']})" if "definition" in values else name
    return _filled(title, values["top"])


def _filled(title: str, rows: list[dict[str, Any]]) -> Table:
    table = Table(*(column.replace("_", " ") for column in rows[0]) if rows else (), title=title, title_justify="left")
    for row in rows:
        table.add_row(*(f"{cell:.4f}" if isinstance(cell, float) else str(cell) for cell in row.values()))
    return table
