"""The sections that check importance: by removal, by other ablations, and between halves of the examples."""

from collections.abc import Mapping, Sequence

from headcount.results import HeadScores, LayerScores, Result, ResultName
from headcount.results.internal import CORRELATION_COLUMNS, ZERO, shots_title
from headcount.viz import number_format
from headcount.viz.figures.layer_scores import ffn_importance
from headcount.viz.figures.score_map import heads
from headcount.viz.html_report.analysis_tables import (
    CORRELATION_HEADINGS,
    Row,
    analysis,
    correlation_cells,
    results_at_shots,
    tables_at_shots,
)
from headcount.viz.html_report.sections.agreement.induction_and_importance import overlap_cells
from headcount.viz.html_report.sections.importance import ffn_columns, ffn_rows, head_columns, head_rows
from headcount.viz.html_report.views import Section, View
from headcount.viz.wording import ABLATIONS


def gradients(results: Mapping[str, Result]) -> Section:
    """Make the section on the rank correlation of importance by gradients and by removal."""
    columns = ("setting", "within", *CORRELATION_COLUMNS, "overlap", "overlap_chance")
    rows = analysis(results, "gradient_and_oracle", columns)
    return Section(
        "gradients",
        "Gradients against removal",
        intro="How similarly importance by gradients and removal of each head alone rank heads.",
        reading="Where rho is high, gradients, which cost far less, can replace removal. Within layers, ranks are "
        "taken inside each layer, so that depth has no influence.",
        caveat="Both look at one head at a time; neither shows what is lost when several are removed together.",
        views=[_gradients_view(rows)] if rows else [],
    )


def reliabilities(results: Mapping[str, Result]) -> Section:
    """Make the section on the agreement of each task's importance with itself."""
    columns = ("task", "rho", "corrected", "lowest", "highest", "halvings")
    tables = tables_at_shots(results, "heads/reliability", columns)
    return Section(
        "reliability",
        "Reliability",
        intro="How well a task's head importance agrees with itself: the rank correlation between two halves of the "
        "examples.",
        reading="Corrected is the value for all the examples. Two tasks can hardly correlate more with each other than "
        "each does with itself.",
        caveat="It is for other examples of the same task, not for other prompts.",
        views=[_reliability_view(n_shots, rows) for n_shots, rows in tables],
    )


def other_ablations(results: Mapping[str, Result]) -> Section:
    """Make the section on importance by each kind of ablation besides zeros."""
    matches: list[tuple[ResultName, HeadScores | LayerScores]] = [
        *((name, scores) for name, _, scores in results_at_shots(results, HeadScores)),
        *((name, scores) for name, _, scores in results_at_shots(results, LayerScores)),
    ]
    return Section(
        "ablations",
        "Other ablations",
        intro="The cost of one head, or of one feed-forward network (FFN), whose output becomes its mean over train "
        "examples, or its value on another prompt, in place of zero.",
        reading="Zeros also take away what a part writes on every prompt. Where zeros cost much and means do not, the "
        "model needs a constant from the part, and nothing that depends on the prompt.",
        caveat="One part at a time is ablated, on these documents, with the values of these reference examples.",
        views=[_ablation_view(name, scores) for name, scores in matches if name.ablation != ZERO],
    )


def _gradients_view(rows: Sequence[Row]) -> View:
    cells = [
        [
            row["setting"],
            "within layers" if row["within"] else "all heads",
            *correlation_cells(row),
            *overlap_cells(row),
        ]
        for row in rows
    ]
    columns = ("setting", "ranked", *CORRELATION_HEADINGS, "overlap", "by chance")
    return View("all settings", None, "Gradients and removal", columns, cells)


def _reliability_view(n_shots: int, rows: Sequence[Row]) -> View:
    cells = [
        [
            row["task"],
            number_format.decimal(row["rho"]),
            number_format.interval(row["lowest"], row["highest"]),
            number_format.decimal(row["corrected"]),
        ]
        for row in rows
    ]
    return View(
        shots_title(n_shots),
        None,
        f"Between halves of the examples, over {rows[0]['halvings']} halvings",
        ("task", "rho", "lowest to highest", "corrected"),
        cells,
    )


def _ablation_view(name: ResultName, scores: HeadScores | LayerScores) -> View:
    setting = name.setting
    title = f"{'' if setting is None else setting.title}: {'heads' if isinstance(scores, HeadScores) else 'FFNs'}"
    title += ABLATIONS[name.ablation]
    if isinstance(scores, HeadScores):
        rows = [] if setting is None else head_rows({setting: scores}, {})[setting]
        return View(title, heads(scores, title=""), "The highest heads", head_columns(scores, {}), rows)
    return View(title, ffn_importance(scores, title=""), "Every layer", ffn_columns(scores), ffn_rows(scores))
