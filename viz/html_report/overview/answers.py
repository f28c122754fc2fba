"""The five answers: a question and a line each, computed from the results and honest where something is missing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from headcount.results import Result, ResultName, Table
from headcount.results.internal import checked
from headcount.viz import number_format
from headcount.viz.html_report.analysis_tables import VARIANTS, Row, of_variant, results_at_shots, tables_at_shots
from headcount.viz.html_report.overview.first_screen import FirstScreen
from headcount.viz.html_report.overview.induction_heads import listed
from headcount.viz.html_report.overview.removable_shares import RemovableShare, removable_shares
from headcount.viz.html_report.sections.control import THRESHOLD

SPEARMAN = next(iter(VARIANTS))
MOST, HALF = 0.9, 0.5  # shares of pairs from which tasks agree, or agree in part


@dataclass(frozen=True)
class Answer:
    """One of the five questions, and its answer in a line.

    Attributes:
        key: The anchor of the part of the page with its figure.
        question: The question.
        text: The answer.
        measured: False if the run does not have what it needs.
        command: The command that measures what is missing.
    """

    key: str
    question: str
    text: str
    measured: bool = True
    command: str = ""


INDUCTION = "headcount induction --out DIR"
STUDY = "headcount study --preset quick --out DIR"


def five_answers(screen: FirstScreen) -> list[Answer]:
    """Return the five answers on a run."""
    answers: dict[str, tuple[str, Callable[[FirstScreen], str | None], str]] = {
        "which": ("Which heads are induction heads?", which_heads, INDUCTION),
        "sure": ("How sure is that?", how_sure, INDUCTION),
        "on-text": ("What do they attend to on text?", on_text, INDUCTION),
        "removal": ("How many heads and FFNs can go?", how_many, STUDY),
        "agree": ("Do tasks agree, and are important heads induction heads?", do_tasks_agree, STUDY),
    }
    texts = {key: text_of(screen) for key, (_, text_of, _) in answers.items()}
    return [
        Answer(key, question, texts[key] or "Not in this run.", texts[key] is not None, command)
        for key, (question, _, command) in answers.items()
    ]


def which_heads(screen: FirstScreen) -> str | None:
    """Return the induction heads with the definition and its control; None if prefix matching was not measured."""
    heads = screen.induction
    if heads is None or heads.strongest is None:
        return None
    control = "Random weights were not measured."
    if heads.random is not None:
        control = f"With random weights no head exceeds {number_format.decimal(heads.random)}."
    meaning = f"more than {THRESHOLD:g} of the attention is on the token after an earlier occurrence"
    if not heads.heads:
        strongest = f"{heads.label(heads.strongest)}, {heads.score(heads.strongest)}"
        return f"None of {heads.total} ({meaning}); the highest is {strongest}. {control}"
    return f"{heads.named()}, {len(heads.heads)} of {heads.total}: {meaning}. {control}"


def how_sure(screen: FirstScreen) -> str | None:
    """Return the error of the strongest head, and the heads that are too near the border to tell."""
    heads = screen.induction
    if heads is None or heads.strongest is None:
        return None
    scores = heads.scores
    name, score = heads.label(heads.strongest), heads.score(heads.strongest)
    if number_format.shown_errors(scores) is None:
        return f"Unknown: {name} has {score}, from {scores.n} sequences, too few for an error."
    covers = f"other random tokens{', and other lengths' if scores.length_range or scores.lengths is not None else ''}"
    near = "No head is"
    if heads.uncertain:
        names = listed([heads.label(head) for head in heads.uncertain])
        near = f"{names} {'is' if len(heads.uncertain) == 1 else 'are'}"
    return (
        f"{name} has {score} (standard error over {scores.n} sequences{scores.length_range}; it covers {covers}). "
        f"{near} within two errors of {THRESHOLD:g}."
    )


def on_text(screen: FirstScreen) -> str | None:
    """Return the attention of the induction heads on a text: on the tokens after earlier copies of the query."""
    text, heads = screen.text, screen.induction
    if text is None or heads is None or not heads.heads:
        return None
    where = "On a text" if text.is_text else "On repeated random tokens (no text is in this run)"
    if not text.queries["successor"]:
        return f"{where} no token comes twice, so it does not show."
    shares = {head: float(text.shares["successor"][head]) for head in heads.heads}
    mean, (best, most) = sum(shares.values()) / len(shares), max(shares.items(), key=lambda pair: pair[1])
    first = sum(float(text.shares["first"][head]) for head in heads.heads) / len(shares)
    above = "The token after the earlier occurrence" if mean > 2 * text.even["successor"] else "Many tokens"
    return (
        f"{above}: {_percent(mean)} of their attention at tokens that came before (spread evenly, "
        f"{_percent(text.even['successor'])}); {heads.label(best)} {_percent(most)}. "
        f"{_percent(first)} is on the first token, where idle heads look. {where}, "
        f"n = {text.queries['successor']} tokens."
    )


def how_many(screen: FirstScreen) -> str | None:
    """Return the share of heads and of FFNs that can go before accuracy falls; None if nothing was removed."""
    shares = removable_shares(screen.contents.results)
    if not shares:
        return None
    texts = " and ".join(_share_text(share) for share in shares)
    counts = sorted({len(share.rows) for share in shares})
    tasks = f"on at least half of the {' and '.join(map(str, counts))} tasks above chance" if counts[-1] > 1 else ""
    return f"About {texts} {tasks}, least important first, before accuracy falls by two standard errors.".replace(
        " ,", ","
    )


def do_tasks_agree(screen: FirstScreen) -> str | None:
    """Return the rank correlation of tasks, and the overlap of important heads and induction heads."""
    parts = [part for part in (_agreement(screen), _important_induction(screen)) if part]
    return " ".join(parts) or None


def task_pairs(screen: FirstScreen) -> tuple[int, list[Row]] | None:
    """Return the rank correlation of every two tasks' head importance, at the shots of the picture if it has these."""
    columns = ("a", "b", "rho", "null_high", "variant", "within")
    tables = tables_at_shots(screen.contents.results, "heads/correlations", columns)
    pairs = {
        shots: [
            row for row in of_variant(rows, SPEARMAN) if "mean" not in (row["a"], row["b"]) and row["rho"] is not None
        ]
        for shots, rows in tables
    }
    pairs = {shots: rows for shots, rows in pairs.items() if rows}
    if not pairs:
        return None
    chosen = screen.importance[0].shots if screen.importance else None
    shots = chosen if chosen in pairs else max(pairs)
    return shots, pairs[shots]


def _agreement(screen: FirstScreen) -> str | None:
    listed_pairs = task_pairs(screen)
    if listed_pairs is None:
        return None
    shots, rows = listed_pairs
    rhos = [row["rho"] for row in rows]
    above = sum(row["null_high"] is not None and row["rho"] > row["null_high"] for row in rows)
    word = "Yes" if above >= MOST * len(rows) else "In part" if above >= HALF * len(rows) else "No"
    low, mean, high = (number_format.decimal(value, 2) for value in (min(rhos), sum(rhos) / len(rhos), max(rhos)))
    beyond = f"beyond what layers alone give in {above} of {len(rows)} pairs"
    return f"{word}: tasks' rankings of heads correlate by {mean} ({low} to {high}, {shots} shots), {beyond}."


def _important_induction(screen: FirstScreen) -> str | None:
    if screen.overlap is None or not screen.induction or not screen.induction.heads:
        return None
    common, first, chance = screen.overlap
    among = common > max(1.0, 2 * chance)
    verdict = f"Induction heads are {'among' if among else 'not'} the important ones"
    return (
        f"{verdict}: {common} of the {first} most important heads {'is one' if common == 1 else 'are such'} "
        f"({number_format.decimal(chance, 1)} by chance){_correlation(screen)}."
    )


def _correlation(screen: FirstScreen) -> str:
    """Return the range of the rank correlation of importance with prefix matching, if the run has it."""
    columns = ("task", "score", "rho", "variant", "within")
    rows: list[Any] = [
        row["rho"]
        for _, table in tables_at_shots(screen.contents.results, "agreement", columns)
        for row in of_variant(table, SPEARMAN)
        if row["score"] == "prefix_matching" and row["rho"] is not None
    ]
    return f"; correlation with prefix matching {number_format.interval(min(rows), max(rows), 2)}" if rows else ""


def verdict_tables(results: Mapping[str, Result]) -> list[tuple[ResultName, list[dict[str, Any]]]]:
    """Return the tables of verdicts on single heads with their names."""
    tables = []
    for name, _, table in results_at_shots(results, Table):
        if name.folder.partition("/")[0] == "verdicts":
            columns = ("kind", "layer", "head", "verdict")
            tables.append((name, checked(str(name), table.records(), columns, {"kind", "verdict"})))
    return tables


def verdict_counts(screen: FirstScreen) -> list[str]:
    """Return for each table of verdicts how many of its induction heads have which verdict."""
    texts = []
    for name, rows in verdict_tables(screen.contents.results):
        verdicts = [row["verdict"] for row in rows if row["kind"] == "induction"]
        counts = ", ".join(f"{verdicts.count(verdict)} {verdict}" for verdict in dict.fromkeys(verdicts))
        title = name.setting.title if name.setting else ""
        texts += [f"{title} ({name.ablation} ablation): of {len(verdicts)} tested, {counts}"] if verdicts else []
    return texts


def _share_text(share: RemovableShare) -> str:
    least, most = share.rows[0], share.rows[-1]
    span = f"{least[1]} to {most[1]} % by task" if len(share.rows) > 1 else least[0]
    return f"{share.median} % of the {share.part} ({span})"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
