"""The paper's claims, each with a criterion, evaluated on a run's results."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from headcount.progress import Progress
from headcount.results import ResultName, Run, Table
from headcount.study.claims import layers, pruning, rankings
from headcount.study.claims.results import StudyResults
from headcount.study.claims.verdict import FEW, TOLERANCE, Evaluation
from headcount.study.unit import Unit


@dataclass(frozen=True)
class Claim:
    """One claim of the paper.

    Attributes:
        text: The claim.
        criterion: The condition under which it counts as holding here.
        source: The part of the paper that makes it.
        published: The paper's numbers, for OPT-66B.
        evaluate: Returns the verdict of a run's results, and the numbers behind it.
    """

    text: str
    criterion: str
    source: str
    published: str
    evaluate: Callable[[StudyResults], Evaluation]


def claims_unit(run: Run, tasks: Mapping[int, Sequence[str]], unseen: Sequence[str], needs: Sequence[str]) -> Unit:
    """Return the unit that evaluates all claims.

    Args:
        run: The run.
        tasks: The tasks by number of shots.
        unseen: The tasks that the means are not over.
        needs: The names of the results to evaluate on.
    """

    def measure(progress: Progress) -> tuple[Table]:
        study = StudyResults({name: run[name] for name in needs if name in run}, tasks, unseen)
        records = [_record(claim, claim.evaluate(study)) for claim in CLAIMS]
        return (Table.of(records, "Claims of the paper, and the verdicts of this run", tolerance=TOLERANCE),)

    name = str(ResultName.analysis("claims"))
    return Unit("claims of the paper", (name,), {"tolerance": TOLERANCE}, 0, measure, tuple(needs), partial=True)


def _record(claim: Claim, evaluation: Evaluation) -> dict[str, Any]:
    return {
        "claim": claim.text,
        "criterion": claim.criterion,
        **evaluation._asdict(),
        "published": claim.published,
        "source": claim.source,
    }


CLAIMS = (
    Claim(
        "70 % of heads can be removed with minimal decline",
        f"mean drop of accuracy at 70 %, plus two standard errors, is {TOLERANCE} or less",
        "removal of heads",
        "about 70 %",
        pruning.removable("heads", 70.0),
    ),
    Claim(
        "20 % of FFNs can be removed with minimal decline",
        f"mean drop of accuracy at 20 %, plus two standard errors, is {TOLERANCE} or less",
        "removal of FFNs",
        "about 20 %",
        pruning.removable("ffns", 20.0),
    ),
    Claim(
        "Heads and FFNs can be removed together",
        f"mean drop at 20 % of FFNs and 70 % of heads, plus two standard errors, is {TOLERANCE} or less",
        "combined removal",
        "holds",
        pruning.combined,
    ),
    Claim(
        "Head importance tells which heads can go",
        "accuracy after removal by importance is above that after random removal by two standard errors",
        "(a control, not in the paper)",
        "not measured",
        pruning.better_than_random("heads"),
    ),
    Claim(
        "FFN importance tells which FFNs can go",
        "accuracy after removal by importance is above that after random removal by two standard errors",
        "(a control, not in the paper)",
        "not measured",
        pruning.better_than_random("ffns"),
    ),
    Claim(
        "Important heads are in the middle layers",
        "the middle third of the layers holds more than a third of head importance, by two standard errors over tasks",
        "importance of heads",
        "intermediate layers",
        layers.concentrated("head_importance", 1 / 3, 2 / 3),
    ),
    Claim(
        "Important FFNs are in the later layers",
        "the upper half of the layers holds more than half of FFN importance, by two standard errors over tasks",
        "importance of FFNs",
        "later layers",
        layers.concentrated("ffn_importance", 1 / 2, 1.0),
    ),
    Claim(
        "Induction heads are in the upper layers",
        "the upper half of the layers holds more than half of prefix matching",
        "induction heads",
        "upper layers",
        layers.concentrated("prefix_matching", 1 / 2, 1.0),
    ),
    Claim(
        "FFNs can go more easily at 0 shots than with shots",
        "the mean drop is smaller at 0 shots, by two standard errors over settings",
        "removal of FFNs",
        "holds",
        pruning.ffn_tolerance,
    ),
    Claim(
        "Tasks rank heads alike",
        "every pair's Spearman rho lies above what layer structure alone would give",
        "correlation across tasks",
        "substantial overlap",
        rankings.correlated,
    ),
    Claim(
        "Rankings agree across shots",
        "every task's Spearman rho lies above what layer structure alone would give",
        "correlation across shots",
        "0.39 (0 and 1), 0.37 (0 and 5), 0.41 (1 and 5)",
        rankings.across_shots,
    ),
    Claim(
        "The mean ranking generalises to unseen tasks",
        f"accuracy by the mean ranking is lower than by the task's own by at most {TOLERANCE}, with two errors",
        "unseen tasks",
        "MathQA and LAMBADA",
        pruning.unseen,
    ),
    Claim(
        "Few heads do both primitives",
        f"{FEW:.0%} of heads or fewer score above 0.5 in both prefix matching and copying",
        "induction heads",
        "a small set of heads",
        rankings.few_do_both,
    ),
    Claim(
        "Prefix matching survives the first removals, copying falls at once",
        "95 % or more of prefix matching remains without the 20 % least important heads, and less of copying",
        "induction capacity retained",
        "flat to 20 %; copying falls at once",
        rankings.prefix_flat,
    ),
    Claim(
        "Few-shot rankings retain more induction capacity than 0-shot rankings",
        "the mean share of prefix matching that remains is higher, by two standard errors over settings",
        "induction capacity retained",
        "holds",
        rankings.more_with_shots,
    ),
    Claim(
        "Tasks differ in their reliance on induction heads",
        "the intervals of the least and the most agreeing task do not overlap",
        "induction capacity retained",
        "holds",
        rankings.tasks_differ,
    ),
)
