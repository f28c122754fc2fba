"""A run's results in the terminal, or as values for a program."""

from collections.abc import Mapping, Sequence
from math import isfinite, isnan
from typing import Any

from rich import box
from rich import table as rich_table
from rich.console import Console
from rich.text import Text

from headcount.importance.tasks.origins import Origin
from headcount.planning.costs import Cost
from headcount.planning.plan import Part, Plan
from headcount.results import (
    Accuracy,
    HeadProfile,
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
from headcount.study.comparing import is_summarised, summary

WIDTH = 120


def as_values(run: Run, top: int) -> dict[str, Any]:
    """Manifest and, for each result, its strongest heads or its numbers."""
    return {"manifest": run.manifest, "results": {name: as_plain(_values(run, name, top)) for name in run.names}}


def as_tables(run: Run, top: int) -> None:
    """Print the run's model, a table of accuracies, and a table for each other result."""
    console = _console()
    console.print(f"{run.folder}: {run.manifest['model']['name']}", markup=False, highlight=False)
    if not run.names:
        console.print(f"no results yet: headcount induction --out {run.folder}", markup=False, highlight=False)
    found = {name: _values(run, name, top) for name in run.names}
    accuracies = [{"accuracy": name, **values["accuracy"]} for name, values in found.items() if "accuracy" in values]
    if accuracies:
        console.print(_filled(accuracies))
    analyses = {name: values["rows"] for name, values in found.items() if "rows" in values and is_summarised(name)}
    for name, values in found.items():
        if "accuracy" not in values and name not in analyses:
            _section(console, _title(name, values), _shown(values), None if _is_whole(values) else top)
    for title, rows in summary(analyses).items():
        _section(console, title, rows, top)


def as_sections(sections: Mapping[str, list[dict[str, Any]]]) -> None:
    """Print titles, each with a table below."""
    console = _console()
    for title, rows in sections.items():
        _section(console, title, rows)


def _section(console: Console, title: str, rows: list[dict[str, Any]], top: int | None = None) -> None:
    """A title, and a table of the first rows, or all of them."""
    console.print(title, markup=False, highlight=False)
    if rows:
        console.print(_filled(rows[:top]))
    if top is not None and len(rows) > top:
        console.print(f"and {len(rows) - top} more rows: --json shows all", highlight=False)


def as_plain(value: Any) -> Any:
    """The same with null for NaN, which JSON has no word for."""
    if isinstance(value, dict):
        return {key: as_plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [as_plain(inner) for inner in value]
    return None if isinstance(value, float) and not isfinite(value) else value


def tasks_table(found: Sequence[Origin]) -> None:
    """Print the tasks there are."""
    rows = [
        {"task": o.task, "metric": o.metric, "here": "yes" if o.here else "no", "rows from": o.source} for o in found
    ]
    console = _console()
    console.print(_filled(rows))
    console.print("any other lm-eval task that is scored by likelihoods can be named, too", highlight=False)


def units_table(found: Sequence[Cost]) -> None:
    """Print what a study would do, and what that would cost."""
    rows = [
        {
            "unit": cost.title,
            "state": "done" if cost.done else "to do",
            "FLOPs": "" if cost.done else _rounded(cost.flops),
            "peak memory": "" if cost.done else _bytes(cost.memory.total),
            "time": "" if cost.done else _time(cost.seconds),
        }
        for cost in found
    ]
    console = _console()
    console.print(_filled(rows))
    missing = [cost for cost in found if not cost.done]
    hours = sum(cost.seconds for cost in missing) / 3600
    text = f"{len(found) - len(missing)} of {len(found)} units are done; the rest takes about {hours:.1f} hours here"
    console.print(text, highlight=False)


def plan_table(found: Plan) -> None:
    """Print what the parts of a study would cost, on what, and what was assumed."""
    console = _console()
    console.print(f"{found.model}: {found.about}", markup=False, highlight=False)
    console.print(f"on {found.on.name}: {found.on.source}", markup=False, highlight=False)
    parts = (*found.parts, found.total)
    for row in (_work_row, _room_row):
        console.print(_filled([row(part) for part in parts], whole=True))
    for sentence in found.assumed:
        console.print(f"- {sentence}", markup=False, highlight=False)


def _work_row(part: Part) -> dict[str, Any]:
    cost = part.cost
    return {
        "part": part.name,
        "units": f"{part.units:,}",
        "FLOPs": _rounded(cost.flops),
        "weights read": _bytes(cost.weight_bytes),
        "time": _time(cost.seconds),
    }


def _room_row(part: Part) -> dict[str, Any]:
    """The peak on one device, and a remote run."""
    cost, held = part.cost, part.cost.memory
    return {
        "part": part.name,
        "weights": _bytes(held.weights),
        "activations": _bytes(held.activations),
        "logits": _bytes(held.logits),
        "fits": "" if not cost.flops else "yes" if cost.fits else "no",
        "requests": f"{cost.requests:,}",
        "up": _bytes(cost.up),
        "down": _bytes(cost.down),
    }


def _rounded(number: float) -> str:
    return f"{number:.2e}" if number else ""


def _bytes(number: float) -> str:
    """Bytes in the unit that shows them in three digits or so."""
    for unit, size in (("PB", 1e15), ("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if number >= size:
            return f"{number / size:.3g} {unit}" if number < 1000 * size else f"{number / size:,.0f} {unit}"
    return ""


def _time(seconds: float) -> str:
    if seconds >= 3600:
        return f"{seconds / 3600:,.1f} h"
    return f"{seconds / 60:.1f} min" if seconds >= 6 else "seconds" if seconds else ""


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
        one_order = isinstance(result, PruningCurve) and len(result.seeds) == 1
        return {"pruning": result.to_frame().drop(columns=["margin", *(["seed"] * one_order)]).to_dict("records")}
    if isinstance(result, HeadProfile):
        rows = result.to_frame().to_dict("records")
        return {"definition": f"{result.label} on {result.text!r}", "n": len(rows), "rows": rows}
    if isinstance(result, Table):
        return {"definition": result.definition, "n": len(result.rows), "rows": result.records()}
    missing = int(result.values.isnan().sum())
    return {"definition": result.definition, "n": result.n, "missing": missing, "top": _top(result, top)}


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
        return f"{name}: late minus early {_number(values['late_minus_early'])} ± {_number(values['stderr'])} nats"
    if "tokens" in values:
        return f"{name}: {values['definition']}; {values['tokens']} tokens, in the report"
    missing = f", n/a for {values['missing']}" if values.get("missing") else ""
    return f"{name}: {values['definition']}, n = {values['n']}{missing}" if "definition" in values else name


def _is_whole(values: dict[str, Any]) -> bool:
    """Whether all rows are printed: those of a long table of an analysis are not."""
    return "rows" not in values or _are_claims(values["rows"])


def _are_claims(rows: list[dict[str, Any]]) -> bool:
    return bool(rows) and "verdict" in rows[0]


def _shown(values: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows to print; of the claims without what only the report has room for."""
    if "damaged" in values:
        return [{"damaged": values["damaged"]}]
    if "tokens" in values:  # patterns, which are for the report
        return []
    kind = next(kind for kind in ("loss", "pruning", "rows", "top") if kind in values)
    rows: list[dict[str, Any]] = values[kind]
    return [{key: row[key] for key in ("claim", "verdict", "evidence")} for row in rows] if _are_claims(rows) else rows


def _console() -> Console:
    """The terminal; what goes elsewhere is not squeezed into the 80 columns of one."""
    console = Console()
    return console if console.is_terminal else Console(width=WIDTH)


def _filled(rows: list[dict[str, Any]], whole: bool = False) -> rich_table.Table:
    """A table whose text may break into lines, unless it is to stay whole, and whose numbers may not."""
    table = rich_table.Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column, value in rows[0].items() if rows else ():
        is_text = isinstance(value, str)
        table.add_column(column.replace("_", " "), overflow="fold", no_wrap=whole or not is_text)
    for row in rows:
        # As plain text: a token such as "[/b]" is not rich's markup.
        table.add_row(*(Text(_written(cell)) for cell in row.values()))
    return table


def _written(cell: Any) -> str:
    if cell is None:
        return ""
    return _number(cell) if type(cell) in (int, float) else str(cell)


def _number(value: float) -> str:
    """Four decimals, or as many digits where these would show nothing: gradients can be tiny. NaN is `n/a`."""
    if isnan(value):
        return "n/a"
    if isinstance(value, int) or value.is_integer():
        return f"{value:,.0f}"
    return f"{value:.4f}" if abs(value) >= 0.01 else f"{value:.2e}"
