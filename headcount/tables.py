"""A run's results in the terminal, or as values for a program."""

from collections.abc import Sequence
from math import isfinite
from typing import Any

from rich import table as rich_table
from rich.console import Console

from headcount.costs import Cost
from importance.origins import Origin
from results import (
    Accuracy,
    HeadScores,
    InputError,
    LayerScores,
    Patterns,
    PruningCurve,
    PruningGrid,
    RepeatLoss,
    Run,
    Table,
)


def as_values(run: Run, top: int) -> dict[str, Any]:
    """Manifest and, for each result, its strongest heads or its numbers."""
    return {"manifest": run.manifest, "results": {name: _plain(_values(run, name, top)) for name in run.names}}


def as_tables(run: Run, top: int) -> None:
    """Print the run's model, a table of accuracies, and a table for each other result."""
    console = Console()
    console.print(f"{run.folder}: {run.manifest['model']['name']}", markup=False, highlight=False)
    if not run.names:
        console.print(f"no results yet: headcount induction --out {run.folder}", markup=False, highlight=False)
    found = {name: _values(run, name, top) for name in run.names}
    accuracies = [{"accuracy": name, **values["accuracy"]} for name, values in found.items() if "accuracy" in values]
    if accuracies:
        console.print(_filled(accuracies))
    for name, values in found.items():
        if "accuracy" not in values:
            console.print(_title(name, values), markup=False, highlight=False)
            if "tokens" in values:  # patterns, which are for the report
                continue
            rows = _rows(values)
            shown = rows if "verdict" in (rows or [{}])[0] or "rows" not in values else rows[:top]
            console.print(_filled(shown))
            if len(shown) < len(rows):
                console.print(f"and {len(rows) - len(shown)} more rows: --json shows all", highlight=False)


def tasks_table(found: Sequence[Origin]) -> None:
    """Print the tasks there are."""
    rows = [
        {"task": o.task, "metric": o.metric, "here": "yes" if o.here else "no", "rows from": o.source} for o in found
    ]
    console = Console()
    console.print(_filled(rows))
    console.print("any other lm-eval task that is scored by likelihoods can be named, too", highlight=False)


def units_table(found: Sequence[Cost]) -> None:
    """Print what a study would do, and what that would cost."""
    rows = [
        {"unit": cost.title, "state": "done" if cost.done else "to do", "tokens": cost.tokens, "time": _time(cost)}
        for cost in found
    ]
    console = Console()
    console.print(_filled(rows))
    missing = [cost for cost in found if not cost.done]
    hours = sum(cost.seconds for cost in missing) / 3600
    text = f"{len(found) - len(missing)} of {len(found)} units are done; the rest takes about {hours:.1f} hours here"
    console.print(text, highlight=False)


def _time(cost: Cost) -> str:
    minutes = cost.seconds / 60
    return "" if cost.done else f"{minutes:.1f} min" if minutes >= 0.1 else "seconds"


def _plain(value: Any) -> Any:
    """The same with null for NaN, which JSON has no word for."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return None if isinstance(value, float) and not isfinite(value) else value


def _values(run: Run, name: str, top: int) -> dict[str, Any]:
    try:
        result = run[name]
    except InputError as error:
        return {"damaged": str(error)}
    if isinstance(result, RepeatLoss):
        rows = result.to_frame().to_dict("records")
        return {"loss": rows, "late_minus_early": result.late_minus_early, "stderr": result.late_minus_early_stderr}
    if isinstance(result, Patterns):
        n_layers, n_heads = result.shape
        return {"definition": result.definition, "tokens": len(result.tokens), "layers": n_layers, "heads": n_heads}
    if isinstance(result, Accuracy):
        numbers = {name: getattr(result, name) for name in ("value", "stderr", "n", "chance", "majority", "cut")}
        return {"accuracy": numbers}
    if isinstance(result, PruningCurve | PruningGrid):
        return {"pruning": result.to_frame().drop(columns="margin").to_dict("records")}
    if isinstance(result, Table):
        return {"definition": result.definition, "n": len(result.rows), "rows": result.records()}
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


def _title(name: str, values: dict[str, Any]) -> str:
    if "loss" in values:
        return f"{name}: late minus early {values['late_minus_early']:.3f} ± {values['stderr']:.3f} nats"
    if "tokens" in values:
        return f"{name}: {values['definition']}; {values['tokens']} tokens, in the report"
    return f"{name}: {values['definition']}, n = {values['n']}" if "definition" in values else name


def _rows(values: dict[str, Any]) -> list[dict[str, Any]]:
    if "damaged" in values:
        return [{"damaged": values["damaged"]}]
    kind = next(kind for kind in ("loss", "pruning", "rows", "top") if kind in values)
    rows: list[dict[str, Any]] = values[kind]
    if rows and "verdict" in rows[0]:  # the rest is for the report
        return [{key: row[key] for key in ("claim", "verdict", "evidence")} for row in rows]
    return rows


def _filled(rows: list[dict[str, Any]]) -> rich_table.Table:
    table = rich_table.Table(*(column.replace("_", " ") for column in rows[0]) if rows else ())
    for row in rows:
        table.add_row(*(_number(cell) if isinstance(cell, float) else str(cell) for cell in row.values()))
    return table


def _number(value: float) -> str:
    """Four decimals, or as many digits where these would show nothing: gradients can be tiny."""
    return f"{value:.4f}" if value == 0 or abs(value) >= 0.01 or value != value else f"{value:.2e}"
