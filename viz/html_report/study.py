"""The report's sections on what a study adds: removal, comparisons, and the verdicts on the paper's claims."""

from collections.abc import Mapping
from typing import Any

from headcount.results import Result
from headcount.viz.html_report import analyses, removal
from headcount.viz.html_report.views import Section, records

CLAIM = ("claim", "criterion", "verdict", "evidence", "published")


def claims(everything: Mapping[str, Result]) -> list[dict[str, Any]]:
    """The rows of the table of claims."""
    return records("analyses/claims", everything.get("analyses/claims"), CLAIM)


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
            removal.curves(everything),
        ),
        Section(
            "grid",
            "Removing both",
            "Accuracy as heads and FFNs are taken out together, each along the task's own ranking.",
            "The whole model is in the lower left corner. A star marks what lies below it by more than two paired "
            "standard errors.",
            "On few documents a cell without a star may still have lost something.",
            removal.grids(everything),
        ),
        Section(
            "correlations",
            "Do tasks agree?",
            "The rank correlation of every two tasks' importance, and of each with the mean over tasks.",
            "1 is the same order, 0 none in common. The interval is that for other examples. Layers alone is what the "
            "same values give when heads change places inside their layer; p is against no correlation at all, which "
            "is less to ask.",
            "Noise lowers a correlation: reliability, further down, says how far a task agrees with itself. The "
            "argsort variant is not a rank correlation; it is kept for comparison with published numbers.",
            analyses.correlations(everything),
        ),
        Section(
            "shots",
            "Across shots",
            "The rank correlation of a task's head importance at two numbers of solved examples.",
            "Dotted lines are means over tasks; bars are 95 % intervals for other examples.",
            "The same documents are behind both numbers of shots. The argsort variant is not a rank correlation.",
            analyses.across_shots(everything),
        ),
        Section(
            "overlaps",
            "Overlap of the most important heads",
            "The share of the highest heads that two tasks have in common.",
            "Chance is what two unrelated orders would share.",
            "Where the border lies is a convention; heads just above and below it differ little.",
            analyses.overlaps(everything),
        ),
        Section(
            "capacity",
            "Induction capacity retained",
            "How much of the sum of all heads' induction scores is left as the least important heads go.",
            "A curve above the grey one keeps induction heads longer than layers alone would; the straight line from "
            "corner to corner is what random removal gives.",
            "A score that remains says that the heads are there, not that they still do the same in a smaller model.",
            analyses.capacities(everything),
        ),
        Section(
            "agreement",
            "Are important heads induction heads?",
            "How far each task's head importance ranks heads as the induction scores do.",
            "Overlap is the share of the highest heads that both have in common.",
            "Agreement says nothing of how a task uses these heads.",
            analyses.agreements(everything),
        ),
        Section(
            "layers",
            "By layer",
            "Which part of a score lies in which layer: of the sum of what is above 0 over all heads, or FFNs.",
            "The dashed line is an even share. Shares of one curve add up to 100 %.",
            "A layer with a large share may owe it to a single head; the score maps show which.",
            analyses.layers(everything),
        ),
        Section(
            "gradients",
            "Gradients against removal",
            "How far importance by gradients ranks heads as removing each one alone does.",
            "Where rho is high, gradients, which cost far less, can stand in for removal. Within layers, ranks are "
            "taken inside each layer, so that depth cannot help.",
            "Both look at one head at a time; what is lost when several go together is in neither.",
            analyses.gradients(everything),
        ),
        Section(
            "reliability",
            "Reliability",
            "How far a task's head importance agrees with itself: the rank correlation between two halves of the "
            "examples.",
            "Corrected is what all the examples would give. Two tasks can hardly correlate more than each does with "
            "itself.",
            "It speaks of other examples of the same task, not of other prompts.",
            analyses.reliabilities(everything),
        ),
    ]
    return [section for section in found if section.views]
