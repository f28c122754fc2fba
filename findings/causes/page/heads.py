"""The sections on single heads: verdicts, named heads, and the circuit found by paths."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

from headcount.results import Setting, Table
from page import text
from page.runs import ModelRun, kind_title, label

VERDICTS = ("primary", "secondary", "correlate", "interferer", "undecided")
NAMED, FEEDERS = 12, 5
"""The numbers of heads in the tables."""


def summary(run: ModelRun) -> list[str]:
    """Return the verdicts and the circuit in a sentence each."""
    sentences = []
    for ablation in run.ablations:
        tables = run.verdicts(ablation)
        if tables:
            counts = _counts(tables)
            shares = [f"{kind_title(kind)} {of['primary']} of {sum(of.values())}" for kind, of in counts.items()]
            names = [name for name, _ in _named(run, ablation)[:3]]
            sentences.append(
                f"**{run.title}**, {ablation} ablation: primary are {text.listed(shares)} heads and tasks; in most "
                f"tasks {text.listed(names)}."
            )
    return sentences + [f"**{run.title}**: {sentence}" for sentence in _circuit(run)]


def verdict_section(runs: list[ModelRun]) -> str:
    """Return the section with the verdicts on single heads."""
    parts = [
        "## Which heads are needed",
        "Each of the highest 5 % of every kind was ablated alone, set beside other heads of its layer, and ablated "
        "after all others of its kind; by the fall of the gold log-probability, in each task. Counts are of heads and "
        "tasks. *Primary*: it hurts alone, beyond other heads of its layer. *Secondary*: only among others of its "
        "kind. *Interferer*: the task gets better. *Correlate*: neither, by an interval that ends below 0.05 nats. "
        "*Undecided*: too few documents to tell.",
    ]
    for run in runs:
        for ablation in run.ablations:
            if tables := run.verdicts(ablation):
                parts += [f"### {run.title}: verdicts, {ablation} ablation", _counts_table(tables)]
                parts.append(_named_table(run, ablation))
            else:
                parts.append(f"**{run.title}**, {ablation} ablation: no verdicts were measured.")
    return text.paragraphs(*parts)


def _counts(tables: Mapping[Setting, Table]) -> dict[str, Counter[str]]:
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for table in tables.values():
        for row in table.records():
            counts[row["kind"]][row["verdict"]] += 1
    return dict(counts)


def _counts_table(tables: Mapping[Setting, Table]) -> str:
    rows = [
        [kind_title(kind), str(sum(counts.values())), *(str(counts[verdict]) for verdict in VERDICTS)]
        for kind, counts in _counts(tables).items()
    ]
    return text.table(["kind", "heads and tasks", *VERDICTS], rows)


def _named(run: ModelRun, ablation: str) -> list[tuple[str, dict[str, Any]]]:
    """Return the heads that are primary in any task: those in most tasks first, then by their fall."""
    heads: dict[str, dict[str, Any]] = {}
    for setting, table in run.verdicts(ablation).items():
        for row in table.records():
            entry = heads.setdefault(
                label(row["layer"], row["head"]),
                {"kinds": set(), "primary": set(), "tasks": {}, "place": (row["layer"], row["head"])},
            )
            entry["kinds"].add(row["kind"])
            entry["tasks"][setting] = row["alone"]
            if row["verdict"] == "primary":
                entry["primary"].add(setting)
    named = [(name, entry | {"fall": _mean(entry["tasks"].values())}) for name, entry in heads.items()]
    primary = [(name, entry) for name, entry in named if entry["primary"]]
    return sorted(primary, key=lambda pair: (-len(pair[1]["primary"]), -pair[1]["fall"]))


def _named_table(run: ModelRun, ablation: str) -> str:
    named = _named(run, ablation)
    if not named:
        return "No head is primary in any task."
    prefix, rows = run.prefix_matching, []
    for name, entry in named[:NAMED]:
        score = "n/a" if prefix is None else text.number(float(prefix.values[entry["place"]]))
        kinds = text.listed(kind_title(kind) for kind in sorted(entry["kinds"]))
        rows.append(
            [name, kinds, f"{len(entry['primary'])} of {len(entry['tasks'])}", text.number(entry["fall"]), score]
        )
    start = f"Heads that are primary in at least one task ({len(named)}), those in most tasks first"
    start += f"; the first {NAMED}:" if len(named) > NAMED else ":"
    heading = ["head", "among the highest by", "primary in tasks", "mean fall alone, nats", "prefix matching"]
    return text.paragraphs(start, text.table(heading, rows))


def circuit_section(runs: list[ModelRun]) -> str:
    """Return the section on the heads that feed an induction head."""
    parts = [
        "## The induction circuit",
        "The fall of a head's prefix matching on repeated random tokens when an earlier head's contribution to one of "
        "its inputs is replaced by its mean: straight from head to head (direct), or through all layers between "
        "(total). ± is a standard error over sequences.",
    ]
    for run in runs:
        if not run.paths:
            parts.append(f"**{run.title}**: no paths were measured (`headcount paths`).")
            continue
        parts += [f"### {run.title}: paths", _paths_table(run), text.bullets(_circuit(run))]
    return text.paragraphs(*parts)


def _paths_table(run: ModelRun) -> str:
    rows = []
    for name, scores in run.paths.items():
        head, side, path = name.split("-")
        errors = scores.stderr
        highest = [
            f"{label(layer, place)} "
            + text.with_error(value, float("nan") if errors is None else float(errors[layer, place]), 3)
            for layer, place, value in scores.top(FEEDERS)
        ]
        rows.append([head, side, path, text.number(_score(scores), 3), ", ".join(highest)])
    return text.table(["head", "input", "path", "its score", f"highest falls (of n = {_n(run)} sequences)"], rows)


def _circuit(run: ModelRun) -> list[str]:
    """Return a sentence for each path through keys: the head that carries most of it."""
    sentences = []
    for name, scores in run.paths.items():
        head, side, path = name.split("-")
        (layer, place, value), *rest = scores.top(2)
        if side != "key":
            continue
        share = value / _score(scores)
        next_head = f"; the next head, {label(*rest[0][:2])}, {text.number(rest[0][2])}" if rest else ""
        sentences.append(
            f"{head} reads its keys from {label(layer, place)} more than from any other head ({path} path): without "
            f"that, {text.number(value)} of its prefix matching of {text.number(_score(scores))} goes "
            f"({100 * share:.0f} %){next_head}.{_roles(run, layer, place)}"
        )
    return sentences


def _roles(run: ModelRun, layer: int, place: int) -> str:
    """Return in which tasks a feeding head was found primary, where it is among the highest of a kind."""
    for ablation in run.ablations:
        named = dict(_named(run, ablation))
        if (entry := named.get(label(layer, place))) is not None:
            tasks = text.listed(str(setting) for setting in sorted(entry["primary"], key=str))
            return f" It is primary in {tasks} ({ablation} ablation)."
    return ""


def _score(scores: Any) -> float:
    return float(scores.provenance.get("score", float("nan")))


def _n(run: ModelRun) -> str:
    return text.listed(dict.fromkeys(str(scores.n) for scores in run.paths.values()))


def _mean(values: Any) -> float:
    numbers = list(values)
    return sum(numbers) / len(numbers)
