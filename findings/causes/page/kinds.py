"""The section on kinds of heads: sets of them removed beside random ones, in the mean over tasks and task by task."""

from collections.abc import Iterable
from itertools import combinations
from typing import Any

import pandas as pd

from headcount.results import SetEffects
from headcount.stats import compare
from page import text
from page.runs import ModelRun, can_do, kind_title

MORE, HERE, NOT_MORE = "more than random", "more in these tasks", "not more"
LESS, UNDECIDED = "less than random", "undecided"
TOLERANCE = 0.05
"""The loss of exact match beyond random heads that is still none."""

CRITERIA = (
    f"*{MORE}*: the loss beyond random heads is above 0 by two standard errors and by the interval over tasks. "
    f"*{HERE}*: by two standard errors only, so that other tasks may differ. *{NOT_MORE}*: by two standard errors the "
    f"loss is below {TOLERANCE}; *{LESS}*: below 0. *{UNDECIDED}*: anything else."
)


def verdict(row: pd.Series) -> str:
    """Return what a loss beyond random heads comes to."""
    value, error = row["beyond_random"], row["beyond_random_stderr"]
    if value - 2 * error > 0:
        return MORE if row["beyond_random_low"] > 0 else HERE
    if value + 2 * error < TOLERANCE:
        return LESS if value + 2 * error < 0 else NOT_MORE
    return UNDECIDED


def mean_table(run: ModelRun, ablation: str) -> pd.DataFrame:
    """Return the mean over tasks that the model can do, by kind, share, `without_others` and measure."""
    solved = {str(setting): effects for setting, effects in run.solved(ablation).items()}
    index = ["kind", "percent", "without_others", "measure"]
    return compare.mean_effects(solved).set_index(index) if solved else pd.DataFrame()


def summary(run: ModelRun) -> list[str]:
    """Return the section in a sentence or two for each kind of ablation."""
    return [_summary(run, ablation) for ablation in run.ablations if run.solved(ablation)]


def _summary(run: ModelRun, ablation: str) -> str:
    table = mean_table(run, ablation).xs("exact_match", level="measure")
    share = min(table.index.get_level_values("percent"))
    first = table.xs((share, False), level=("percent", "without_others"))
    values = [f"{kind_title(kind)} {text.number(row['value'])}" for kind, row in _costliest(first)]
    return (
        f"**{run.title}**, {ablation} ablation, {text.count(len(run.solved(ablation)), 'task')}. Exact match is "
        f"{text.number(first['whole'].iloc[0])}; without the highest {share:g} % of a kind: {text.listed(values)}; "
        f"without random heads of the same layers {text.interval(first['random'].min(), first['random'].max())}. Cost "
        f"more than random heads: {_costly(table, False)}. Without the heads of other kinds: {_costly(table, True)}."
    )


def _costly(table: pd.DataFrame, alone: bool) -> str:
    """Return the kinds that cost more than random heads, with the shares at which they do."""
    rows = table[table.index.get_level_values("without_others") == alone].droplevel("without_others")
    shares: dict[str, list[str]] = {}
    for (kind, share), row in rows.sort_index(level="percent", sort_remaining=False).iterrows():
        if verdict(row) in (MORE, HERE):
            shares.setdefault(kind, []).append(f"{share:g}{'*' if verdict(row) == HERE else ''}")
    return text.listed((f"{kind_title(kind)} (at {', '.join(at)} %)" for kind, at in shares.items()), "none")


def _costliest(rows: pd.DataFrame) -> Iterable[tuple[str, pd.Series]]:
    order = rows.sort_values("beyond_random", ascending=False)
    return [(str(kind), row) for kind, row in order.iterrows()]


def section(runs: list[ModelRun]) -> str:
    """Return the section on kinds of heads."""
    parts = [
        "## Which kind of head is needed",
        "The highest 2, 5, 10 and 20 % of each kind are ablated together, and a second time without the heads that "
        "are among the highest of another kind at the same share. Beside each set stand random sets with as many "
        "heads in each layer. Values are means over tasks. ± is a standard error over documents (paired, the tasks as "
        "they are) and over the draws of random sets; the 95 % interval over tasks says what other tasks of this sort "
        f"might give. {CRITERIA}",
    ]
    for run in runs:
        if not run.ablations:
            parts.append(f"**{run.title}**: no sets of heads were removed (`headcount causes`).")
        for ablation in run.ablations:
            parts.append(f"### {run.title}, {ablation} ablation")
            parts.append(_body(run, ablation))
    return text.paragraphs(*parts)


def _body(run: ModelRun, ablation: str) -> str:
    weak = [str(setting) for setting, effects in run.effects(ablation).items() if not can_do(effects)]
    left_out = f"Left out, since the whole model's exact match is not above 0: {text.listed(weak)}." if weak else ""
    if not run.solved(ablation):
        return left_out
    table = mean_table(run, ablation)
    return text.paragraphs(
        left_out,
        _means(run, ablation),
        _exact_match(table),
        "The same loss beyond random heads by accuracy (the choice among the continuations of a document, which moves "
        "late) and by the gold log-probability in nats; a star: above 0 by two standard errors and over tasks:",
        _other_measures(table),
        _pairs(run, ablation),
        _by_task(run, ablation),
    )


def _means(run: ModelRun, ablation: str) -> str:
    """Return whose means take the place of heads, and are the function-vector effect."""
    if ablation != "mean":
        return ""
    groups = {tuple(effects.provenance.get("means_over", ())) for effects in run.solved(ablation).values()}
    if groups == {()}:
        return "Means are those of each task's own prompts: they still tell which task it is, and hide what heads do."
    return f"Means are over {text.listed(sorted({task for group in groups for task in group}))} together."


def _exact_match(table: pd.DataFrame) -> str:
    rows = []
    for (kind, share), of_set in table.xs("exact_match", level="measure").groupby(["kind", "percent"], sort=False):
        cells = [f"{share:g} %", kind_title(kind)]
        for alone in (False, True):
            cells += _exact_match_cells(of_set, kind, share, alone, int(table["tasks"].max()))
        rows.append(cells)
    rows.sort(key=lambda row: float(row[0].split()[0]))
    whole = {measure: text.number(of_measure["whole"].iloc[0]) for measure, of_measure in table.groupby("measure")}
    heading = ["highest", "kind", "heads", "exact match", "random", "lost beyond random", "over tasks", ""]
    heading += ["not of others: heads", "lost beyond random", "over tasks", ""]
    start = (
        f"Exact match. The whole model: exact match {whole['exact_match']}, accuracy {whole['accuracy']}, gold "
        f"log-probability {whole['log_p']} nats."
    )
    return text.paragraphs(start, text.table(heading, rows))


def _exact_match_cells(of_set: pd.DataFrame, kind: str, share: float, alone: bool, most: int) -> list[str]:
    if (kind, share, alone) not in of_set.index:
        return ["0", "", "", ""]
    row = of_set.loc[(kind, share, alone)]
    lost = text.with_error(row["beyond_random"], row["beyond_random_stderr"])
    over_tasks = text.interval(row["beyond_random_low"], row["beyond_random_high"])
    plain = [] if alone else [text.with_error(row["value"], row["stderr"]), text.number(row["random"])]
    few = f" ({text.count(int(row['tasks']), 'task')})" if alone or row["tasks"] < most else ""
    return [f"{row['heads']:.3g}{few}", *plain, lost, over_tasks, verdict(row)]


def _other_measures(table: pd.DataFrame) -> str:
    rows = []
    for share in sorted(set(table.index.get_level_values("percent"))):
        for kind in dict.fromkeys(table.index.get_level_values("kind")):
            cells = [f"{share:g} %", kind_title(kind)]
            for alone in (False, True):
                for measure in ("accuracy", "log_p"):
                    entry = (kind, share, alone, measure)
                    cells.append(_lost(table.loc[entry]) if entry in table.index else "")
            rows.append(cells)
    heading = ["highest", "kind", "accuracy", "log-probability", "not of others: accuracy", "log-probability"]
    return text.table(heading, rows)


def _lost(row: pd.Series) -> str:
    lost = text.with_error(row["beyond_random"], row["beyond_random_stderr"])
    return lost + ("*" if verdict(row) == MORE else "")


def _pairs(run: ModelRun, ablation: str) -> str:
    """Return how much more the removal of one kind costs than that of another, for the costliest pair at each share."""
    table = mean_table(run, ablation).xs("exact_match", level="measure")
    solved = {str(setting): effects for setting, effects in run.solved(ablation).items()}
    sentences = []
    for share in sorted(set(table.index.get_level_values("percent"))):
        kinds = [kind for kind, _ in _costliest(table.xs((share, False), level=("percent", "without_others")))]
        results = []
        for first, second in combinations(kinds, 2):
            result = compare.kind_difference(solved, first, second, share, False, "exact_match")
            if result is not None and result.mean - 2 * result.stderr > 0:
                over = text.interval(result.low, result.high)
                lost = text.with_error(result.mean, result.stderr)
                results.append(f"{kind_title(first)} over {kind_title(second)} {lost} (over tasks {over})")
        sentences.append(f"{share:g} %: {text.listed(results, 'no two kinds differ by two standard errors')}.")
    start = "Kinds against each other, exact match lost more, paired by document; differences of two errors or more:"
    return text.paragraphs(start, text.bullets(sentences))


def _by_task(run: ModelRun, ablation: str) -> str:
    effects = run.solved(ablation)
    share = min(min(of_task.percents) for of_task in effects.values())
    kinds = list(dict.fromkeys(kind for of_task in effects.values() for kind in of_task.kinds))
    rows = []
    for setting, of_task in sorted(effects.items(), key=lambda pair: str(pair[0])):
        whole = of_task.whole_answers("exact_match").double().mean()
        cells = [str(setting), str(of_task.n), text.number(float(whole))]
        rows.append(cells + [_task_cell(of_task, kind, share) for kind in kinds])
    heading = ["task", "documents", "whole", *(kind_title(kind) for kind in kinds)]
    start = (
        f"Task by task, without the highest {share:g} %: exact match, and what is lost beyond random heads (a star: by "
        "more than two standard errors):"
    )
    return text.paragraphs(start, text.table(heading, rows))


def _task_cell(effects: SetEffects, kind: str, share: float) -> str:
    place = compare.set_index(effects, kind, share, False)
    if place is None:
        return ""
    value: Any = effects.value("exact_match").mean[place]
    beyond = effects.beyond_random("exact_match")
    lost, error = float(beyond.mean[place]), float(beyond.stderr[place])
    return f"{text.number(float(value))}; {text.with_error(lost, error)}{'*' if lost - 2 * error > 0 else ''}"
