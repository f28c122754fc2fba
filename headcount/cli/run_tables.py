"""A run's results as tables in the terminal, or as values for a program."""

from typing import Any

from headcount.cli.tables import json_safe, number_text, print_rows, print_section, print_text
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
    Result,
    Run,
    Table,
)
from headcount.study import is_summarised, summarise

Values = dict[str, Any]


def run_values(run: Run, top: int) -> Values:
    """Return a run's manifest and, for each result, its highest heads or its numbers."""
    return {"manifest": run.manifest, "results": {name: json_safe(_read(run, name, top)) for name in run.names}}


def print_run(run: Run, top: int) -> None:
    """Print the run's model, a table of accuracies, and a table for each other result."""
    print_text(f"{run.folder}: {run.manifest['model']['name']}")
    if not run.names:
        print_text(f"no results yet: headcount induction --out {run.folder}")
    results = {name: _read(run, name, top) for name in run.names}
    accuracies = [{"accuracy": name, **values["accuracy"]} for name, values in results.items() if "accuracy" in values]
    if accuracies:
        print_rows(accuracies)
    analyses = {name: values["rows"] for name, values in results.items() if "rows" in values and is_summarised(name)}
    for name, values in results.items():
        if "accuracy" not in values and name not in analyses:
            print_section(_title(name, values), _rows(values), None if _is_printed_whole(values) else top)
    for title, rows in summarise(analyses).items():
        print_section(title, rows, top)


def _read(run: Run, name: str, top: int) -> Values:
    """The values of a result, or the error that reading it raises."""
    try:
        return _values(run[name], top)
    except InputError as error:
        return {"damaged": str(error)}


def _values(result: Result, top: int) -> Values:
    """The values of a result, under a key that depends on its kind."""
    match result:
        case RepeatLoss():
            rows = result.to_frame().to_dict("records")
            return {"loss": rows, "late_minus_early": result.late_minus_early, "stderr": result.late_minus_early_stderr}
        case Patterns():
            n_layers, n_heads = result.shape
            return {
                "definition": result.definition,
                "tokens": len(result.tokens),
                "layers": n_layers,
                "heads": n_heads,
            }
        case Accuracy():
            names = ("value", "stderr", "n", "chance", "majority", "cut")
            return {"accuracy": {name: getattr(result, name) for name in names}}
        case PruningCurve() | PruningGrid():
            one_order = isinstance(result, PruningCurve) and len(result.seeds) == 1
            left_out = ["margin", *(["seed"] * one_order)]
            return {"pruning": result.to_frame().drop(columns=left_out).to_dict("records")}
        case HeadProfile():
            rows = result.to_frame().to_dict("records")
            return {"definition": f"{result.label} on {result.text!r}", "n": len(rows), "rows": rows}
        case Table():
            return {"definition": result.definition, "n": len(result.rows), "rows": result.records()}
        case HeadScores() | LayerScores():
            missing = int(result.values.isnan().sum())
            return {"definition": result.definition, "n": result.n, "missing": missing, "top": _top(result, top)}


def _top(scores: HeadScores | LayerScores, top: int) -> list[Values]:
    """The highest heads or layers."""
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


def _title(name: str, values: Values) -> str:
    if "loss" in values:
        late, stderr = number_text(values["late_minus_early"]), number_text(values["stderr"])
        return f"{name}: late minus early {late} ± {stderr} nats"
    if "tokens" in values:
        return f"{name}: {values['definition']}; {values['tokens']} tokens, in the report"
    missing = f", n/a for {values['missing']}" if values.get("missing") else ""
    return f"{name}: {values['definition']}, n = {values['n']}{missing}" if "definition" in values else name


def _is_printed_whole(values: Values) -> bool:
    """True if all rows are printed: of an analysis only the first are, unless they are claims."""
    return "rows" not in values or _are_claims(values["rows"])


def _are_claims(rows: list[Values]) -> bool:
    return bool(rows) and "verdict" in rows[0]


def _rows(values: Values) -> list[Values]:
    """The rows to print; claims without the columns that are for the report."""
    if "damaged" in values:
        return [{"damaged": values["damaged"]}]
    if "tokens" in values:  # patterns, which are for the report
        return []
    kind = next(kind for kind in ("loss", "pruning", "rows", "top") if kind in values)
    rows: list[Values] = values[kind]
    return [{key: row[key] for key in ("claim", "verdict", "evidence")} for row in rows] if _are_claims(rows) else rows
