"""A run's results as tables in the terminal, or as values for a program."""

from collections.abc import Sequence
from difflib import get_close_matches
from math import isnan
from typing import Any

from headcount.cli.atlas_tables import atlas_rows, atlas_values
from headcount.cli.plain_values import Values, plain_values
from headcount.cli.tables import json_safe, print_rows, print_section, print_text
from headcount.results import InputError, Run
from headcount.results.internal import shown_error, with_error
from headcount.study import is_summarised, summarise

WHOLE = 20
"""Results up to which a run is printed as a whole."""

CLAIMS = "analyses/claims"


def chosen_names(run: Run, name: str | None, section: str | None) -> tuple[str, ...]:
    """Return the names of the results that a person asks for.

    Raises:
        InputError: There is no such result, or section.
    """
    if name is not None and section is not None:
        raise InputError("a result and --section exclude each other: name one of them")
    if name is not None:
        name = name.removesuffix(".safetensors").removesuffix(".json")
        if name not in run.names:
            similar = get_close_matches(name, run.names, n=3, cutoff=0.5)
            hint = f"did you mean {', '.join(similar)}?" if similar else f"headcount show {run.folder} lists them"
            raise InputError(f"{run.folder} has no result {name!r}: {hint}")
        return (name,)
    sections = _by_section(run.names)
    if section is not None and section not in sections:
        known = ", ".join(sections) or "none yet"
        raise InputError(f"{run.folder} has no section {section!r}: expected one of {known}")
    return run.names if section is None else tuple(sections[section])


def run_values(run: Run, names: Sequence[str], top: int) -> Values:
    """Return a run's manifest and, for each of some results, its highest heads or its numbers."""
    return {"manifest": run.manifest, "results": {name: json_safe(_read(run, name, top)) for name in names}}


def print_run(run: Run, top: int) -> None:
    """Print a run's model, the results that answer most, and the number of all others; a small run as a whole."""
    print_text(f"{run.folder}: {run.manifest['model']['name']}")
    if not run.names:
        print_text(f"no results yet: headcount induction --out {run.folder}")
    sections = _by_section(run.names)
    chosen = run.names if len(run.names) <= WHOLE else [name for name in run.names if _is_in_summary(name)]
    print_results(run, chosen, top)
    left = {section: sorted(set(names) - set(chosen)) for section, names in sections.items()}
    for section, names in left.items():
        if names:
            print_text(f"{len(names)} more in {section}: headcount show {run.folder} --section {section}")
    if any(left.values()):
        print_text(f"one result: headcount show {run.folder} {next(names for names in left.values() if names)[0]}")


def print_results(run: Run, names: Sequence[str], top: int) -> None:
    """Print some results: claims, accuracies and induction scores first, then the others by name."""
    results = {name: _read(run, name, top) for name in sorted(names, key=_importance_of)}
    accuracies = [{"accuracy": name, **values["accuracy"]} for name, values in results.items() if "accuracy" in values]
    if accuracies:
        print_rows(accuracies)
    one = len(names) == 1
    analyses = {name: values["rows"] for name, values in results.items() if "rows" in values and is_summarised(name)}
    for name, values in results.items():
        if "accuracy" not in values and (one or name not in analyses):
            print_section(_title(name, values), _rows(values), None if _is_printed_whole(values) else top)
    for title, rows in ({} if one else summarise(analyses)).items():
        print_section(title, rows, top)


def _by_section(names: Sequence[str]) -> dict[str, list[str]]:
    sections: dict[str, list[str]] = {}
    for name in names:
        sections.setdefault(name.partition("/")[0], []).append(name)
    return sections


def _is_in_summary(name: str) -> bool:
    """True for the results that a reader looks for first."""
    return name.partition("/")[0] in ("accuracy", "induction") or name == CLAIMS


def _importance_of(name: str) -> tuple[int, str]:
    """A place in the order of printing: claims, then induction scores, then the others by name."""
    return (0 if name == CLAIMS else 1 if name.startswith("induction/") else 2), name


def _read(run: Run, name: str, top: int) -> Values:
    """The values of a result, or the error that reading it raises."""
    try:
        content = run.content(name)
        try:
            values = plain_values(content.kind, content.fields, content.tensors, top)
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise InputError(f"{name} in {run.folder} has not what a {content.kind} has: {error!r}") from error
        return _values(run[name], top) if values is None else values
    except InputError as error:
        return {"damaged": str(error)}


def _values(result: Any, top: int) -> Values:
    """The values of a result of one of the kinds that are best read as objects, under a key that depends on it."""
    from headcount.results import HeadAtlas, HeadProfile, PruningCurve, SetEffects

    if isinstance(result, HeadAtlas):
        return atlas_values(result, top)
    if isinstance(result, SetEffects):
        rows = result.to_frame().drop(columns=["drop", "drop_stderr", "random", "random_spread"]).to_dict("records")
        return {"definition": "sets of heads removed, beside random sets", "n": result.n, "rows": rows}
    if isinstance(result, HeadProfile):
        rows = result.to_frame().to_dict("records")
        return {"definition": f"{result.label} on {result.text!r}", "n": len(rows), "rows": rows}
    one_order = isinstance(result, PruningCurve) and len(result.seeds) == 1
    left_out = ["margin", *(["seed"] * one_order)]
    return {"pruning": result.to_frame().drop(columns=left_out).to_dict("records")}


def _title(name: str, values: Values) -> str:
    if "loss" in values:
        return f"{name}: late minus early {with_error(values['late_minus_early'], values['stderr'])} nats"
    if "tokens" in values:
        return f"{name}: {values['definition']}; {values['tokens']} tokens, in the report"
    missing = f", n/a for {values['missing']}" if values.get("missing") else ""
    if "definition" not in values:
        return name
    lengths = f", {values['n_tokens'][0]} to {values['n_tokens'][1]} tokens" if "n_tokens" in values else ""
    return f"{name}: {values['definition']}, n = {values['n']}{lengths}{missing}"


def _is_printed_whole(values: Values) -> bool:
    """True if all rows are printed: of an analysis only the first are, unless they are claims."""
    return "rows" not in values or _are_claims(values["rows"])


def _are_claims(rows: list[Values]) -> bool:
    return bool(rows) and "claim" in rows[0]


def _rows(values: Values) -> list[Values]:
    """The rows to print; claims without the columns that are for the report."""
    if "damaged" in values:
        return [{"damaged": values["damaged"]}]
    if "atlas" in values:
        return atlas_rows(values)
    if "tokens" in values:  # patterns, which are for the report
        return []
    kind = next(kind for kind in ("loss", "pruning", "rows", "top") if kind in values)
    rows: list[Values] = values[kind]
    if _are_claims(rows):
        return [{key: row[key] for key in ("claim", "verdict", "evidence")} for row in rows]
    if rows and "verdict" in rows[0]:  # intervals are in the report and in --json
        return [{key: value for key, value in row.items() if not key.endswith(("_low", "_high"))} for row in rows]
    if kind == "top" and isnan(shown_error(1.0, values["n"])):
        return [{key: value for key, value in row.items() if key != "stderr"} for row in rows]
    return rows
