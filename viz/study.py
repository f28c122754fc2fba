"""The report's sections on what a study adds: removal, comparisons, and the verdicts on the paper's claims."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import plotly.graph_objects as go

from results import PruningCurve, PruningGrid, Result, Table
from viz import words
from viz.contents import Setting
from viz.correlations import rank_correlation, shots
from viz.pruning import PARTS, pruning_curve, pruning_grid
from viz.retained import capacity_retained

CURVE = re.compile(r"pruning/(?P<part>heads|ffns)/(?P<task>.+)\.(?P<shots>\d+)shot\.(?P<ranking>\w+)")
GRID = re.compile(r"pruning/grid/(?P<task>.+)\.(?P<shots>\d+)shot")
CORRELATIONS = re.compile(r"analyses/(?P<part>heads|ffns)/correlations\.(?P<shots>\d+)shot")
CAPACITY = re.compile(r"analyses/capacity/(?P<score>\w+)\.(?P<task>.+)\.(?P<shots>\d+)shot")
AGREEMENT = re.compile(r"analyses/agreement\.(?P<shots>\d+)shot")
OVERLAPS = re.compile(r"analyses/heads/overlaps\.(?P<shots>\d+)shot")

RANKINGS = {
    "own": "its own importance",
    "mean": "the mean over tasks",
    "most": "the most correlated task",
    "least": "the least correlated task",
    "recomputed": "its own, ranked again at each step",
    "random": "random orders",
}
KINDS = {
    ("spearman", None): "",
    ("spearman", "layer"): "ranks within layers",
    ("argsort", None): "argsort, as the published code computes it",
}
AT_CHANCE = (
    "No verdict: at chance. The whole model does not exceed guessing and the most frequent answer by two standard "
    "errors, so what removal costs cannot be told."
)


@dataclass(frozen=True, eq=False)
class View:
    """One of the things that a section shows one at a time.

    Attributes:
        title: What it is, in the list to choose from.
        figure: Its figure; None where a table says all.
        caption: Above its table.
        columns: The table's headings.
        rows: The table's cells.
        note: What must be known before reading it.
    """

    title: str
    figure: go.Figure | None
    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


@dataclass(frozen=True)
class Section:
    """A section of the report.

    Attributes:
        key: Its anchor, and the first part of its figures' names.
        title: Its heading.
        intro: What it is about.
        reading: How to read it.
        caveat: What it does not show.
        views: What there is to choose from.
    """

    key: str
    title: str
    intro: str
    reading: str
    caveat: str
    views: Sequence[View] = field(default_factory=tuple)

    def name(self, view: View) -> str:
        """How the page refers to a view and its figure."""
        return f"{self.key}/{list(self.views).index(view)}"


def claims(everything: Mapping[str, Result]) -> list[dict[str, Any]]:
    """The rows of the table of claims."""
    table = everything.get("analyses/claims")
    return table.records() if isinstance(table, Table) else []


def sections(everything: Mapping[str, Result]) -> list[Section]:
    """The sections for which the run has results, in order."""
    found = [
        Section(
            "pruning",
            "Removing parts",
            "Accuracy as the least important heads, or feed-forward networks (FFNs), are taken out, and what is left "
            "of it when random ones are.",
            "A ranking is worth something where its curve stays above that of random orders. Bands are one standard "
            "error over documents; of random orders, the spread over orders where that is larger.",
            "Documents are the same at every step, so neighbouring points move together. Another order may do better.",
            _curves(everything),
        ),
        Section(
            "grid",
            "Removing both",
            "Accuracy as heads and FFNs are taken out together, each along the task's own ranking.",
            "The whole model is in the lower left corner. A star marks what lies below it by more than two paired "
            "standard errors.",
            "On few documents a cell without a star may still have lost something.",
            _grids(everything),
        ),
        Section(
            "correlations",
            "Do tasks agree?",
            "The rank correlation of every two tasks' importance, and of each with the mean over tasks.",
            "1 is the same order, 0 none in common. On hover: the 95 % interval for other examples, and what the "
            "layers alone would give.",
            "A correlation is lowered by noise: the table of reliabilities in the run says how far a task agrees with "
            "itself. The argsort variant is not a rank correlation; it is kept for comparison with published numbers.",
            _correlations(everything),
        ),
        Section(
            "shots",
            "Across shots",
            "The rank correlation of a task's head importance at two numbers of solved examples.",
            "Dotted lines are means over tasks; bars are 95 % intervals for other examples.",
            "The same documents are behind both numbers of shots.",
            _shots(everything),
        ),
        Section(
            "overlaps",
            "Overlap of the most important heads",
            "The share of the highest heads that two tasks have in common.",
            "Chance is what two unrelated orders would share.",
            "Where the border lies is a convention; heads just above and below it differ little.",
            _overlaps(everything),
        ),
        Section(
            "capacity",
            "Induction capacity retained",
            "How much of the sum of all heads' induction scores is left as the least important heads go.",
            "A curve above the grey one keeps induction heads longer than layers alone would; the straight line from "
            "corner to corner is what random removal gives.",
            "A score that remains says that the heads are there, not that they still do the same in a smaller model.",
            _capacities(everything),
        ),
        Section(
            "agreement",
            "Are important heads induction heads?",
            "How far each task's head importance ranks heads as the induction scores do.",
            "Overlap is the share of the highest heads that both have in common.",
            "Agreement says nothing of how a task uses these heads.",
            _agreements(everything),
        ),
    ]
    return [section for section in found if section.views]


def _matched(
    everything: Mapping[str, Result], name: re.Pattern[str], kind: type[Any]
) -> list[tuple[re.Match[str], Any]]:
    """The results of a kind whose names match, fewer shots first."""
    found = [(name.fullmatch(key), result) for key, result in everything.items() if isinstance(result, kind)]
    matched = [(match, result) for match, result in found if match]
    return sorted(matched, key=lambda pair: int(pair[0]["shots"]))


def _curves(everything: Mapping[str, Result]) -> list[View]:
    groups: dict[tuple[Setting, str], dict[str, PruningCurve]] = {}
    for match, curve in _matched(everything, CURVE, PruningCurve):
        setting = Setting(match["task"], int(match["shots"]))
        groups.setdefault((setting, match["part"]), {})[match["ranking"]] = curve
    return [_curve_view(*key, groups[key]) for key in sorted(groups, key=lambda key: (key[0].order, key[1] != "heads"))]


def _curve_view(setting: Setting, part: str, curves: Mapping[str, PruningCurve]) -> View:
    named = {RANKINGS[ranking]: curves[ranking] for ranking in RANKINGS if ranking in curves}
    rows = [
        [name, f"{row['percent']:g}", str(row["removed"]), f"{row['parameters'] / 1e6:.1f}", *_said(row)]
        for name, curve in named.items()
        for row in curve.to_frame().to_dict("records")
        if len(curve.seeds) == 1
    ] + [row for name, curve in named.items() if len(curve.seeds) > 1 for row in _random_rows(name, curve)]
    columns = ("ranked by", "% removed", PARTS[part], "parameters, M", "accuracy", "drop")
    first = next(iter(named.values()))
    return View(
        f"{setting.title}: {PARTS[part]}",
        pruning_curve(named, title=""),
        f"Accuracy and drop ± standard error, n = {first.n}",
        columns,
        rows,
        "" if first.beats_guessing else AT_CHANCE,
    )


def _said(row: Mapping[Any, Any]) -> tuple[str, str]:
    return words.measured(row["value"], row["stderr"]), words.measured(row["drop"], row["drop_stderr"])


def _random_rows(name: str, curve: PruningCurve) -> list[list[str]]:
    return [
        [
            f"{name} ({len(curve.seeds)}, ± spread)",
            f"{percent:g}",
            str(curve.removed[step]),
            f"{curve.parameters[step] / 1e6:.1f}",
            words.measured(float(curve.value[step]), float(curve.spread[step])),
            words.measured(float(curve.drop[step]), float(curve.drop_stderr[step])),
        ]
        for step, percent in enumerate(curve.percents)
    ]


def _grids(everything: Mapping[str, Result]) -> list[View]:
    return [
        View(
            Setting(match["task"], int(match["shots"])).title,
            pruning_grid(grid, title=""),
            f"Drop in accuracy ± standard error, n = {grid.n}: FFNs down, heads across",
            ["FFNs removed, %", *(f"{percent:g} % of heads" for percent in grid.head_percents)],
            [
                [f"{ffn:g}", *(words.measured(float(d), float(e)) for d, e in zip(drops, errors, strict=True))]
                for ffn, drops, errors in zip(grid.ffn_percents, grid.drop, grid.drop_stderr, strict=True)
            ],
            "" if grid.beats_guessing else AT_CHANCE,
        )
        for match, grid in _matched(everything, GRID, PruningGrid)
    ]


def _correlations(everything: Mapping[str, Result]) -> list[View]:
    views = []
    for match, table in _matched(everything, CORRELATIONS, Table):
        for kind, said in KINDS.items():
            rows = [row for row in table.records() if (row["variant"], row["within"]) == kind]
            if rows:
                title = f"{PARTS[match['part']]}, {match['shots']} shots{f' ({said})' if said else ''}"
                views.append(_correlation_view(title, rows, _order(everything, match["shots"], rows)))
    return views


def _order(everything: Mapping[str, Result], shots_: str, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The tasks as their clusters have them, the mean first."""
    names = list(dict.fromkeys(name for row in rows for name in (row["a"], row["b"])))
    table = everything.get(f"analyses/heads/order.{shots_}shot")
    clustered = [row["task"] for row in table.records()] if isinstance(table, Table) else []
    return sorted(names, key=lambda name: clustered.index(name) if name in clustered else -1)


def _correlation_view(title: str, rows: Sequence[Mapping[str, Any]], order: Sequence[str]) -> View:
    cells = [
        [
            f"{row['a']} and {row['b']}",
            words.number(row["rho"]),
            f"{words.number(row['low'])} to {words.number(row['high'])}",
            f"{words.number(row['null_low'])} to {words.number(row['null_high'])}",
            f"{row['p_value']:.1e}",
        ]
        for row in rows
    ]
    columns = ("tasks", "rho", "95 %", "layers alone", "p")
    return View(title, rank_correlation(rows, order=order, title=""), f"n = {rows[0]['n']}", columns, cells)


def _shots(everything: Mapping[str, Result]) -> list[View]:
    table = everything.get("analyses/heads/across_shots")
    summary = everything.get("analyses/heads/across_shots_summary")
    if not isinstance(table, Table) or not isinstance(summary, Table):
        return []
    views = []
    for kind, said in KINDS.items():
        rows = [row for row in table.records() if (row["variant"], row["within"]) == kind]
        means = [row for row in summary.records() if (row["variant"], row["within"]) == kind]
        if rows:
            cells = [
                [f"{row['shots_a']} and {row['shots_b']}", *_numbers(row, "mean", "variance"), str(row["n"])]
                for row in means
            ]
            figure = shots(Table.of(rows), title="")
            views.append(
                View(said or "rank correlation", figure, "Over tasks", ("shots", "mean", "variance", "tasks"), cells)
            )
    return views


def _numbers(row: Mapping[str, Any], *names: str) -> list[str]:
    return [words.number(row[name]) for name in names]


def _overlaps(everything: Mapping[str, Result]) -> list[View]:
    columns = ("tasks", "overlap", "95 %", "chance", "p")
    return [
        View(
            f"{match['shots']} shots",
            None,
            f"Of the {table.records()[0]['n_top']} highest heads of each",
            columns,
            [
                [
                    f"{row['a']} and {row['b']}",
                    words.number(row["fraction"], 2),
                    f"{words.number(row['low'], 2)} to {words.number(row['high'], 2)}",
                    words.number(row["chance"], 2),
                    f"{row['p_value']:.1e}",
                ]
                for row in table.records()
            ],
        )
        for match, table in _matched(everything, OVERLAPS, Table)
        if table.rows
    ]


def _capacities(everything: Mapping[str, Result]) -> list[View]:
    found = [
        (Setting(match["task"], int(match["shots"])), words.title_of(match["score"]), table)
        for match, table in _matched(everything, CAPACITY, Table)
    ]
    columns = ("heads removed", "left, %", "95 %", "random within layers, %")
    return [
        View(
            f"{score} by {setting.title}",
            capacity_retained(table, title=""),
            "Percent of the sum of all heads' scores",
            columns,
            [_capacity_row(row) for row in _every_tenth(table.records())],
        )
        for setting, score, table in sorted(found, key=lambda one: (one[0].order, one[1]))
    ]


def _every_tenth(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    last = len(rows) - 1
    return [rows[place] for place in sorted({round(last * step / 10) for step in range(11)})]


def _capacity_row(row: Mapping[str, Any]) -> list[str]:
    low, high = words.number(row["low"], 1), words.number(row["high"], 1)
    return [
        str(row["removed"]),
        words.number(row["retained"], 1),
        f"{low} to {high}",
        words.number(row["null_mean"], 1),
    ]


def _agreements(everything: Mapping[str, Result]) -> list[View]:
    columns = ("task", "score", "rho", "95 %", "layers alone", "overlap", "by chance")
    return [
        View(
            f"{match['shots']} shots",
            None,
            "Rank correlation, and overlap of the highest heads",
            columns,
            [
                [
                    row["task"],
                    words.title_of(row["score"]),
                    words.number(row["rho"]),
                    f"{words.number(row['low'])} to {words.number(row['high'])}",
                    f"{words.number(row['null_low'])} to {words.number(row['null_high'])}",
                    words.number(row["overlap"], 2),
                    words.number(row["overlap_chance"], 2),
                ]
                for row in table.records()
            ],
        )
        for match, table in _matched(everything, AGREEMENT, Table)
    ]
