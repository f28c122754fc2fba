"""The sections on causes: sets of heads removed beside random ones, and verdicts on single heads."""

from collections.abc import Mapping
from math import nan
from typing import Any

from headcount.results import PruningCurve, Result, ResultName, SetEffects, Setting, Table
from headcount.results.internal import checked, shots_title
from headcount.stats import compare
from headcount.viz import number_format
from headcount.viz.figures.pruning import pruning_curve
from headcount.viz.figures.set_effects import set_effects
from headcount.viz.html_report.analysis_tables import number_or_nan, results_at_shots
from headcount.viz.html_report.views import Section, View
from headcount.viz.wording import kind_title

EFFECTS = ("alone", "beyond", "within")
MEASURES = ("exact_match", "accuracy", "log_p")
UNKNOWN = dict.fromkeys(("value", "stderr", "beyond_random", "beyond_random_stderr"), nan)
LISTED = 4
"""Settings of one verdict that are named."""
VERDICT_COLUMNS = ("kind", "layer", "head", "score", "verdict", *EFFECTS)


def needed_kinds(results: Mapping[str, Result]) -> Section:
    """Make the section on sets of heads of each kind, with a figure for every task and kind of ablation."""
    return Section(
        "causes",
        "What is needed, and what only goes along",
        intro="The highest heads of each kind are removed together, and the task is measured again: with greedy exact "
        "match, which falls before the choice among four answers does.",
        reading="A kind whose line falls below the grey band costs more than random heads of the same layers: the task "
        "needs heads of it. The legend adds a dotted line without the heads that another kind also ranks among its "
        "highest: where it stays in the band, the kind only goes along with the other.",
        caveat="Removed together, heads may stand in for each other, or break what later layers expect. The result "
        "holds for this task, these prompts, and this kind of ablation.",
        views=[_effects_view(title, tasks) for title, tasks in _groups_of_effects(results)],
    )


def head_verdicts(results: Mapping[str, Result]) -> dict[str, str]:
    """Return a sentence on every head with a verdict, by its label: `primary` in which tasks, and so on."""
    settings: dict[str, dict[str, list[str]]] = {}
    for name, table in _of_folder(results, "verdicts", Table):
        for row in checked(str(name), table.records(), ("layer", "head", "verdict"), {"kind", "verdict"}):
            of_head = settings.setdefault(f"L{row['layer']}H{row['head']}", {})
            of_verdict = of_head.setdefault(row["verdict"], [])
            if (setting := f"{name.setting} ({name.ablation} ablation)") not in of_verdict:
                of_verdict.append(setting)  # once, though a head can be among the highest of several kinds
    return {
        label: f"Verdict: {'; '.join(f'{verdict} in {_listed(names)}' for verdict, names in of_head.items())}."
        for label, of_head in settings.items()
    }


def _listed(names: list[str]) -> str:
    """Return the first settings of a verdict."""
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return f"{', '.join(names[:LISTED])}{more}"


def _groups_of_effects(results: Mapping[str, Result]) -> list[tuple[str, dict[str, SetEffects]]]:
    """Return the effects in the mean over the tasks at each number of shots, then task by task; by title."""
    tasks: dict[str, dict[str, SetEffects]] = {}
    means: dict[tuple[str, int], dict[str, SetEffects]] = {}
    for name, effects in _of_folder(results, "causes", SetEffects):
        setting = name.setting or Setting("", 0)
        tasks[_title(name)] = {str(setting): effects}
        means.setdefault((name.ablation, setting.shots), {})[str(setting)] = effects
    groups = [
        (f"mean over {len(group)} tasks, {shots_title(shots)}: {ablation} ablation", group)
        for (ablation, shots), group in means.items()
        if len(group) > 1 and len({effects.gold_log_p.shape[1] for effects in group.values()}) == 1
    ]
    return [*groups, *tasks.items()]


def verdicts(results: Mapping[str, Result]) -> Section:
    """Make the section with the verdict on each of the highest heads of every kind."""
    return Section(
        "verdicts",
        "Verdicts on heads",
        intro="Each of the highest heads of every kind was removed alone, set beside other heads of its layer, and "
        "removed after all others of its kind.",
        reading="Primary: its removal alone hurts, beyond that of other heads of its layer. Secondary: it hurts among "
        "the others of its kind. Interferer: the task gets better without it. Correlate: neither hurts, whatever its "
        "score. Undecided: too few documents to tell.",
        caveat="A correlate may matter for another task or prompt, or together with heads of another kind. Effects are "
        "on the gold log-probability; p-values are corrected over the rows of one table.",
        views=[_verdict_view(name, table) for name, table in _of_folder(results, "verdicts", Table)],
    )


def rankings(results: Mapping[str, Result]) -> Section:
    """Make the section that compares rankings by what is left as the last heads of each go."""
    return Section(
        "rankings",
        "Which ranking to prune by",
        intro="Heads are removed from the end of each ranking, 10 to 100 %. Rankings were made on train rows, curves "
        "on other documents.",
        reading="The larger the area under a curve, the longer the heads that go last carry the task. Gains are over "
        "the published ranking (token), paired by document. CPR is 1 where nothing is lost before the last head goes, "
        "CMD is 0 where the model behaves as the whole one throughout.",
        caveat="Gates are learned for the task: they tune the model as well as rank its heads. A score that singles "
        "out few heads, such as prefix matching, says little of the rest.",
        views=[_areas_view(name, table, results) for name, table in _of_folder(results, "areas", Table)],
    )


def _of_folder(results: Mapping[str, Result], folder: str, kind: type[Any]) -> list[tuple[ResultName, Any]]:
    matches = [(name, result) for name, _, result in results_at_shots(results, kind)]
    return [(name, result) for name, result in matches if name.folder.partition("/")[0] == folder]


def _title(name: ResultName) -> str:
    setting = name.setting or Setting("", 0)
    return f"{setting.title}: {name.folder.partition('/')[2]} ablation"


def _effects_view(title: str, tasks: Mapping[str, SetEffects]) -> View:
    table = compare.mean_effects(tasks)
    n = sum(effects.n for effects in tasks.values())
    rows = []
    for (kind, percent, alone), of_set in table.groupby(["kind", "percent", "without_others"], sort=False):
        by_measure: dict[str, Any] = {row["measure"]: row for row in of_set.to_dict("records")}
        cells = [kind_title(str(kind)) + (", not of others" if alone else "")]
        cells += [f"{percent:g}", f"{of_set['heads'].iloc[0]:.3g}"]
        for measure in MEASURES:
            row = by_measure.get(measure, UNKNOWN)
            cells += [_with_error(row, "value", "stderr", n)]
            cells += [_with_error(row, "beyond_random", "beyond_random_stderr", n)]
        rows.append(cells)
    whole = {measure: number_format.decimal(values["whole"].iloc[0]) for measure, values in table.groupby("measure")}
    measure = next(measure for measure in MEASURES if measure in whole)
    return View(
        title,
        set_effects(tasks, measure=measure, title=""),
        f"Without sets of heads, ± standard error, n = {n}; the whole model: exact match "
        f"{whole.get('exact_match', number_format.MISSING)}, accuracy {whole['accuracy']}, log p {whole['log_p']}",
        ("kind", "highest %", "heads", "exact match", "lost beyond random", "accuracy", "lost beyond random",
         "log p, nats", "lost beyond random"),
        rows,
    )  # fmt: skip


def _with_error(row: Mapping[str, Any], value: str, stderr: str, n: int) -> str:
    return number_format.with_error(row[value], number_format.shown_error(row[stderr], n))


def _with_interval(row: Mapping[str, Any], effect: str) -> str:
    interval = number_format.interval(row[f"{effect}_low"], row[f"{effect}_high"])
    return f"{number_format.decimal(row[effect])} ({interval})"


def _verdict_view(name: ResultName, table: Table) -> View:
    columns = [
        *VERDICT_COLUMNS,
        *(f"{effect}_{end}" for effect in ("alone", "beyond", "within") for end in ("low", "high")),
    ]
    records = checked(str(name), table.records(), columns, {"kind", "verdict"})
    rows = [
        [
            kind_title(row["kind"]),
            f"L{row['layer']}H{row['head']}",
            number_format.decimal(row["score"]),
            row["verdict"],
            *(_with_interval(row, effect) for effect in EFFECTS),
        ]
        for row in records
    ]
    n = table.provenance.get("n_documents", "")
    return View(
        _title(name),
        None,
        f"Fall of the gold log-probability in nats (95 % interval), n = {n}",
        ("kind", "head", "score", "verdict", "alone", "beyond others of its layer", "within its kind"),
        rows,
    )


def _areas_view(name: ResultName, table: Table, results: Mapping[str, Result]) -> View:
    numbers = [f"{measure}{end}" for measure in MEASURES for end in ("", "_stderr", "_gain", "_gain_stderr")]
    numbers += ["cpr", "cpr_low", "cpr_high", "cmd", "cmd_low", "cmd_high", "fall", "fall_stderr"]
    rows = checked(str(name), table.records(), ["ranking", "verdict", *numbers], {"ranking", "verdict"})
    ablation, setting = name.ablation, name.setting or Setting("", 0)
    curves = {row["ranking"]: results.get(str(ResultName.rank(ablation, setting, row["ranking"]))) for row in rows}
    known = {ranking: curve for ranking, curve in curves.items() if isinstance(curve, PruningCurve)}
    return View(
        _title(name),
        pruning_curve(known, value="exact_match", title="") if known else None,
        "Areas under the curves ± standard error, the largest under exact match first; the fall of accuracy with 70 % "
        "of heads removed, and if it is at most 0.05",
        ("ranking", "exact match", "gain", "accuracy", "gain", "log p, nats", "gain", "CPR (95 %)", "CMD (95 %)",
         "fall at 70 %", "70 % can go"),
        [_area_cells(row) for row in rows],
    )  # fmt: skip


def _area_cells(row: Mapping[str, Any]) -> list[str]:
    cells = [row["ranking"]]
    for measure in MEASURES:
        for column in (measure, f"{measure}_gain"):
            cells.append(number_format.with_error(number_or_nan(row[column]), number_or_nan(row[f"{column}_stderr"])))
    for measure in ("cpr", "cmd"):
        value, low, high = (number_or_nan(row[f"{measure}{end}"]) for end in ("", "_low", "_high"))
        cells.append(f"{number_format.decimal(value)} ({number_format.interval(low, high)})")
    fall = number_format.with_error(number_or_nan(row["fall"]), number_or_nan(row["fall_stderr"]))
    return [*cells, fall, row["verdict"]]
