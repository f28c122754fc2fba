"""The report's views of how scores compare: across tasks and shots, with induction scores, by depth."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from headcount.results import Result, Table
from headcount.viz import wording
from headcount.viz.contents import Setting
from headcount.viz.figures.capacity import capacity_retained
from headcount.viz.figures.correlations import rank_correlation, shots
from headcount.viz.figures.depth import by_layer
from headcount.viz.figures.pruning import PARTS
from headcount.viz.html_report.views import KINDS, View, at_shots, number, of_kind, records, tables

Rows = Sequence[Mapping[str, Any]]

CORRELATIONS = re.compile(r"analyses/(?P<part>heads|ffns)/correlations\.(?P<shots>\d+)shot")
CAPACITY = re.compile(r"analyses/capacity/(?P<score>\w+)\.(?P<task>.+)\.(?P<shots>\d+)shot")
AGREEMENT = re.compile(r"analyses/agreement\.(?P<shots>\d+)shot")
OVERLAPS = re.compile(r"analyses/heads/overlaps\.(?P<shots>\d+)shot")
RELIABILITY = re.compile(r"analyses/heads/reliability\.(?P<shots>\d+)shot")

KIND = ("variant", "within")
CORRELATION = ("rho", "low", "high", "null_low", "null_high")
CORRELATED = ("rho", "95 %", "layers alone")


def correlations(everything: Mapping[str, Result]) -> list[View]:
    """The correlations of every two tasks: of heads, then of FFNs, each kind by itself."""
    needed = ("a", "b", *CORRELATION, "p_value", "n", *KIND)
    found = sorted(tables(everything, CORRELATIONS, needed), key=lambda one: one[0]["part"] != "heads")
    views = []
    for match, rows in found:
        for kind, said in KINDS.items():
            mine = of_kind(rows, kind)
            if mine:
                title = f"{PARTS[match['part']]}, {at_shots(match['shots'])}{f' ({said})' if said else ''}"
                caption = f"{said or 'Rank correlation'} over {mine[0]['n']} {PARTS[match['part']]}"
                views.append(_correlation(title, caption, mine, _order(everything, match["shots"], mine)))
    return views


def _correlation(title: str, caption: str, rows: Rows, order: Sequence[str]) -> View:
    cells = [[f"{row['a']} and {row['b']}", *_correlated(row), f"{row['p_value']:.1e}"] for row in rows]
    return View(
        title,
        rank_correlation(rows, order=order, title=""),
        caption[0].upper() + caption[1:],
        ("tasks", *CORRELATED, "p, of none"),
        cells,
    )


def _correlated(row: Mapping[str, Any]) -> list[str]:
    """What `CORRELATED` heads: a correlation, its interval, and what layers alone would give."""
    return [
        wording.number(row["rho"]),
        wording.interval(row["low"], row["high"]),
        wording.interval(row["null_low"], row["null_high"]),
    ]


def _order(everything: Mapping[str, Result], n_shots: str, rows: Rows) -> list[str]:
    """The tasks as their clusters have them, the mean first."""
    names = list(dict.fromkeys(name for row in rows for name in (row["a"], row["b"])))
    key = f"analyses/heads/order.{n_shots}shot"
    clustered = [row["task"] for row in records(key, everything.get(key), ("task",))]
    return sorted(names, key=lambda name: clustered.index(name) if name in clustered else -1)


def across_shots(everything: Mapping[str, Result]) -> list[View]:
    """Each task's correlation between two numbers of shots, each kind by itself."""
    key, summary = "analyses/heads/across_shots", "analyses/heads/across_shots_summary"
    found = records(key, everything.get(key), ("task", "shots_a", "shots_b", *CORRELATION, *KIND))
    means = records(summary, everything.get(summary), ("shots_a", "shots_b", "mean", "variance", "n", *KIND))
    views = []
    for kind, said in KINDS.items():
        rows = of_kind(found, kind)
        if rows:
            cells = [[_pair(row), row["task"], *_correlated(row), ""] for row in rows]
            cells += [
                [_pair(row), f"mean over {row['n']} tasks", wording.number(row["mean"]), "", "", _variance(row)]
                for row in of_kind(means, kind)
            ]
            columns = ("shots", "task", *CORRELATED, "variance")
            figure = shots(Table.of(rows), title="")
            views.append(View(said or "rank correlation", figure, "Tasks, and their mean", columns, cells))
    return views


def _pair(row: Mapping[str, Any]) -> str:
    return f"{row['shots_a']} and {row['shots_b']}"


def _variance(row: Mapping[str, Any]) -> str:
    return wording.number(number(row["variance"]), 4)


def overlaps(everything: Mapping[str, Result]) -> list[View]:
    """The heads that every two tasks' highest have in common."""
    needed = ("a", "b", "fraction", "low", "high", "chance", "null_mean", "n_top", "p_value")
    columns = ("tasks", "overlap", "95 %", "chance", "layers alone", "p")
    return [
        View(
            at_shots(match["shots"]),
            None,
            f"Of the {rows[0]['n_top']} highest heads of each",
            columns,
            [
                [
                    f"{row['a']} and {row['b']}",
                    wording.number(row["fraction"], 2),
                    wording.interval(row["low"], row["high"], 2),
                    wording.number(row["chance"], 2),
                    wording.number(row["null_mean"], 2),
                    f"{row['p_value']:.1e}",
                ]
                for row in rows
            ],
        )
        for match, rows in tables(everything, OVERLAPS, needed)
    ]


def capacities(everything: Mapping[str, Result]) -> list[View]:
    """What is left of each induction score along each task's ranking."""
    needed = ("removed", "retained", "low", "high", "null_mean", "null_low", "null_high")
    found = [
        (Setting(match["task"], int(match["shots"])), wording.title_of(match["score"]), rows)
        for match, rows in tables(everything, CAPACITY, needed)
    ]
    columns = ("heads removed", "left, %", "95 %", "random within layers, %", "95 %")
    return [
        View(
            f"{score} by {setting.title}",
            capacity_retained(Table.of(rows), title=""),
            "Percent of the sum of all heads' scores",
            columns,
            [_capacity(row) for row in _every_tenth(rows)],
        )
        for setting, score, rows in sorted(found, key=lambda one: (one[0].order, one[1]))
    ]


def _every_tenth(rows: Rows) -> Rows:
    last = len(rows) - 1
    return [rows[place] for place in sorted({round(last * step / 10) for step in range(11)})]


def _capacity(row: Mapping[str, Any]) -> list[str]:
    return [
        str(row["removed"]),
        wording.number(row["retained"], 1),
        wording.interval(row["low"], row["high"], 1),
        wording.number(row["null_mean"], 1),
        wording.interval(row["null_low"], row["null_high"], 1),
    ]


def agreements(everything: Mapping[str, Result]) -> list[View]:
    """How far importance ranks heads as induction scores do."""
    needed = ("task", "score", *CORRELATION, "overlap", "overlap_chance")
    columns = ("task", "score", *CORRELATED, "overlap", "by chance")
    return [
        View(
            at_shots(match["shots"]),
            None,
            "Rank correlation, and overlap of the highest heads",
            columns,
            [[row["task"], wording.title_of(row["score"]), *_correlated(row), *_overlap(row)] for row in rows],
        )
        for match, rows in tables(everything, AGREEMENT, needed)
    ]


def _overlap(row: Mapping[str, Any]) -> list[str]:
    return [wording.number(row["overlap"], 2), wording.number(row["overlap_chance"], 2)]


def layers(everything: Mapping[str, Result]) -> list[View]:
    """The share of each layer: of the induction scores, then of importance at each number of shots."""
    needed = ("measure", "task", "shots", "layer", "value", "stderr", "share")
    groups: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for row in records("analyses/layers", everything.get("analyses/layers"), needed):
        title = wording.title_of(row["measure"])
        importance = row["shots"] is not None
        group = f"{title}, {at_shots(row['shots'])}" if importance else "Induction scores"
        groups.setdefault(group, {}).setdefault(row["task"] if importance else title, []).append(row)
    return [_layers(title, found) for title, found in groups.items()]


def _layers(title: str, found: Mapping[str, list[dict[str, Any]]]) -> View:
    shares = {(row["layer"], name): row["share"] for name, rows in found.items() for row in rows}
    n_layers = 1 + max(layer for layer, _ in shares)
    return View(
        title,
        by_layer({name: Table.of(rows) for name, rows in found.items()}, title=""),
        "Percent of the sum over all layers of what is above 0",
        ("layer", *found),
        [
            [str(layer), *(wording.number(100 * number(shares.get((layer, name))), 1) for name in found)]
            for layer in range(n_layers)
        ],
    )


def gradients(everything: Mapping[str, Result]) -> list[View]:
    """Importance by gradients against that by removal."""
    needed = ("setting", "within", *CORRELATION, "overlap", "overlap_chance")
    name = "analyses/gradient_and_oracle"
    rows = records(name, everything.get(name), needed)
    cells = [
        [row["setting"], "within layers" if row["within"] else "all heads", *_correlated(row), *_overlap(row)]
        for row in rows
    ]
    columns = ("setting", "ranked", *CORRELATED, "overlap", "by chance")
    return [View("all settings", None, "Gradients and removal", columns, cells)] if cells else []


def reliabilities(everything: Mapping[str, Result]) -> list[View]:
    """How far each task's importance agrees with itself."""
    needed = ("task", "rho", "corrected", "lowest", "highest", "halvings")
    return [
        View(
            at_shots(match["shots"]),
            None,
            f"Between halves of the examples, over {rows[0]['halvings']} halvings",
            ("task", "rho", "lowest to highest", "corrected"),
            [
                [
                    row["task"],
                    wording.number(row["rho"]),
                    wording.interval(row["lowest"], row["highest"]),
                    wording.number(row["corrected"]),
                ]
                for row in rows
            ],
        )
        for match, rows in tables(everything, RELIABILITY, needed)
    ]
