"""The section on rankings: areas under what is left, and the paper's headline tried again."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from math import nan, sqrt
from typing import Any

from page import text
from page.runs import ModelRun

ONE_PASS = ("token", "example", "drop", "example-mean", "activation-norm")
"""The rankings that cost about one forward and backward pass, or less."""
PUBLISHED, MINIMAL = "token", 0.05

Rows = dict[str, list[dict[str, Any]]]


def summary(run: ModelRun) -> list[str]:
    """Return the best ranking and the verdict on the headline in a sentence for each kind of ablation."""
    sentences = []
    for ablation in run.ranked_by:
        rows = _by_ranking(run, ablation)
        best, cheap = _best(rows, rows), _best(rows, [name for name in ONE_PASS if name in rows])
        start = f"**{run.title}**, {ablation} ablation, {_tasks(run, ablation)}: the largest area under exact match has"
        start += f" {best} ({text.number(_mean(rows[best], 'exact_match'))})"
        if cheap and cheap != best:
            start += f", of those at one pass {cheap} ({text.number(_mean(rows[cheap], 'exact_match'))})"
        if PUBLISHED in rows:
            start += f"; the published ranking has {text.number(_mean(rows[PUBLISHED], 'exact_match'))}"
        sentences.append(f"{start}. {_headline(rows)}")
    return sentences


def section(runs: list[ModelRun]) -> str:
    """Return the section on rankings."""
    parts = [
        "## Which ranking to prune by, and the 70 %",
        "Each ranking was made on train rows; its last heads go, 10 to 100 %, on the scored rows. Area: the mean "
        "height of that curve. Gain: over the published ranking, paired by document. CPR is 1 where nothing is lost "
        "before the last head goes, CMD 0 where the model behaves as the whole one throughout. The paper says that "
        "about 70 % of heads can be removed with minimal decline: a task *holds* where the fall of accuracy at 70 % "
        f"plus two standard errors is at most {MINIMAL}, *fails* where it is above by two. Gates are learned for the "
        "task: they tune the model as well as rank its heads.",
    ]
    for run in runs:
        if not run.ranked_by:
            parts.append(f"**{run.title}**: no rankings were compared (`headcount rank`).")
        for ablation in run.ranked_by:
            rows = _by_ranking(run, ablation)
            parts.append(f"### {run.title}: rankings, {ablation} ablation, {_tasks(run, ablation)}")
            parts += [_table(rows), _headline(rows), _gains(rows)]
    return text.paragraphs(*parts)


def _by_ranking(run: ModelRun, ablation: str) -> Rows:
    """Return the rows of every task's table by ranking."""
    rows: Rows = defaultdict(list)
    for table in run.areas(ablation).values():
        for row in table.records():
            rows[row["ranking"]].append(row)
    return dict(rows)


def _table(rows: Rows) -> str:
    lines = []
    for name in sorted(rows, key=lambda name: -_or_lowest(_mean(rows[name], "exact_match"))):
        of_tasks, cells = rows[name], [name]
        for measure in ("exact_match", "accuracy"):
            cells += [_with_error(of_tasks, measure)]
            cells += ["" if name == PUBLISHED else _with_error(of_tasks, f"{measure}_gain")]
        cells += [text.number(_mean(of_tasks, measure)) for measure in ("cpr", "cmd")]
        cells += [_with_error(of_tasks, "fall"), _verdicts(of_tasks)]
        lines.append(cells)
    heading = ["ranking", "exact match", "gain", "accuracy", "gain", "CPR", "CMD", "fall at 70 %", "70 % can go"]
    return text.table(heading, lines)


def _headline(rows: Rows) -> str:
    """Return by which rankings the paper's headline holds, fails, or is undecided."""
    groups: dict[str, list[str]] = defaultdict(list)
    for name, of_tasks in rows.items():
        verdicts = {row["verdict"] for row in of_tasks}
        groups[verdicts.pop() if len(verdicts) == 1 else "mixed"].append(name)
    words = {"holds": "holds in all tasks by", "fails": "fails in all tasks by", "undecided": "is undecided by"}
    words["mixed"] = "differs between tasks by"
    sentences = [f"{words[verdict]} {text.listed(groups[verdict])}" for verdict in words if verdict in groups]
    return f"That 70 % of heads can go {'; '.join(sentences)}."


def _gains(rows: Rows) -> str:
    """Return which rankings at one pass have a larger area than the published one, by two standard errors."""
    if PUBLISHED not in rows:
        return ""
    names = [name for name in ONE_PASS if name in rows and name != PUBLISHED]
    better = [name for name in names if _gain(rows[name]) - 2 * _error(rows[name], "exact_match_gain") > 0]
    worse = [name for name in names if _gain(rows[name]) + 2 * _error(rows[name], "exact_match_gain") < 0]
    return (
        f"At one pass, exact match: by two standard errors better than the published ranking are "
        f"{text.listed(better, 'none')}; worse are {text.listed(worse, 'none')}."
    )


def _gain(of_tasks: list[dict[str, Any]]) -> float:
    return _mean(of_tasks, "exact_match_gain")


def _verdicts(of_tasks: list[dict[str, Any]]) -> str:
    counts = Counter(row["verdict"] for row in of_tasks)
    return ", ".join(f"{verdict} {count}" for verdict, count in counts.most_common())


def _best(rows: Rows, names: Iterable[str]) -> str:
    return max(names, key=lambda name: _or_lowest(_mean(rows[name], "exact_match")), default="")


def _tasks(run: ModelRun, ablation: str) -> str:
    return text.listed(sorted(map(str, run.areas(ablation))))


def _with_error(of_tasks: list[dict[str, Any]], column: str) -> str:
    return text.with_error(_mean(of_tasks, column), _error(of_tasks, column))


def _error(of_tasks: list[dict[str, Any]], column: str) -> float:
    """Return the standard error over documents of a mean over tasks."""
    return sqrt(sum(_value(row, f"{column}_stderr") ** 2 for row in of_tasks)) / len(of_tasks)


def _mean(of_tasks: list[dict[str, Any]], column: str) -> float:
    return sum(_value(row, column) for row in of_tasks) / len(of_tasks)


def _value(row: dict[str, Any], column: str) -> float:
    return nan if row.get(column) is None else float(row[column])


def _or_lowest(value: float) -> float:
    return value if value == value else float("-inf")
