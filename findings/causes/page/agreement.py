"""The section that compares the results with those of Yin and Steinhardt (2025)."""

from headcount.results import HeadScores, SetEffects
from headcount.stats import compare
from page import text
from page.kinds import mean_table, verdict
from page.runs import ModelRun

FIRST, SECOND = "function_vector", "induction"
CHANCE_OF = (2, 5, 10)


def section(runs: list[ModelRun]) -> str:
    """Return the section."""
    parts = [
        "## Beside Yin and Steinhardt (2025)",
        "They removed the top function-vector heads and the top induction heads of several models, each also without "
        "the other's (arXiv 2502.14010), and found that few-shot accuracy is driven by function-vector heads, that "
        "induction heads matter little once those are kept, that the two kinds are mostly different heads, and that "
        "function-vector heads lie deeper. Each is tried here by a criterion stated with it.",
    ]
    for run in runs:
        sentences = [sentence for ablation in run.ablations for sentence in _effects(run, ablation)] + _scores(run)
        parts.append(
            text.paragraphs(f"**{run.title}**", text.bullets(sentences or ["nothing to compare was measured"]))
        )
    return text.paragraphs(*parts)


def _effects(run: ModelRun, ablation: str) -> list[str]:
    """Return the sentences on what the two kinds cost."""
    effects = {str(setting): of_task for setting, of_task in run.solved(ablation).items()}
    if not effects or not {FIRST, SECOND} <= {kind for of_task in effects.values() for kind in of_task.kinds}:
        return []
    share = min(min(of_task.percents) for of_task in effects.values())
    return [
        f"*Function-vector heads matter more*, {ablation} ablation: {_more(effects, share)}",
        f"*Induction heads matter little without them*, {ablation} ablation: {_alone(run, ablation, share)}",
    ]


def _more(effects: dict[str, SetEffects], share: float) -> str:
    sentences = []
    for alone in (False, True):
        result = compare.kind_difference(effects, FIRST, SECOND, share, alone, "exact_match")
        if result is None:
            continue
        agrees = "agrees" if result.mean - 2 * result.stderr > 0 else "does not agree"
        agrees = "the opposite" if result.mean + 2 * result.stderr < 0 else agrees
        sets = "each without the other kinds' heads" if alone else "whole sets"
        sentences.append(
            f"{sets} of the highest {share:g} %: exact match lower by {text.with_error(result.mean, result.stderr)} "
            f"without function-vector heads than without induction heads (over tasks "
            f"{text.interval(result.low, result.high)}): {agrees}, by two standard errors"
        )
    return "; ".join(sentences) + "."


def _alone(run: ModelRun, ablation: str, share: float) -> str:
    table = mean_table(run, ablation)
    entry = (SECOND, share, True, "exact_match")
    if entry not in table.index:
        return f"at {share:g} % the other kinds leave no induction head."
    row = table.loc[entry]
    lost = text.with_error(row["beyond_random"], row["beyond_random_stderr"])
    return (
        f"without the highest {share:g} % of induction heads that no other kind has, exact match falls by {lost} "
        f"beyond random heads (over tasks {text.interval(row['beyond_random_low'], row['beyond_random_high'])}): "
        f"{verdict(row)}."
    )


def _scores(run: ModelRun) -> list[str]:
    """Return the sentences on overlap and depth, from the scores."""
    prefix, vectors = run.prefix_matching, list(run.function_vectors().values())
    if prefix is None or not vectors:
        return []
    mean = compare.aggregate({str(n): scores for n, scores in enumerate(vectors)}) if len(vectors) > 1 else vectors[0]
    return [
        f"*Mostly different heads*: {_overlap(mean, prefix)}",
        f"*Function-vector heads lie deeper*: {_depth(mean, prefix)}",
    ]


def _overlap(vectors: HeadScores, prefix: HeadScores) -> str:
    rho = compare.spearman(vectors, prefix)
    n = prefix.values.numel()
    shares = []
    for percent in CHANCE_OF:
        count = max(1, percent * n // 100)
        first, second = ({(layer, head) for layer, head, _ in scores.top(count)} for scores in (vectors, prefix))
        shares.append(f"{len(first & second)} of the {count} highest ({percent} %; by chance {count * count / n:.1f})")
    return (
        f"the function-vector effect (mean over tasks) has Spearman's rho {text.number(rho.rho)} with prefix matching; "
        f"both rank {text.listed(shares)}."
    )


def _depth(vectors: HeadScores, prefix: HeadScores) -> str:
    count = max(1, 5 * prefix.values.numel() // 100)
    last = prefix.shape[0] - 1
    depths = [[layer / last for layer, _, _ in scores.top(count)] for scores in (vectors, prefix)]
    means = [sum(values) / count for values in depths]
    errors = [
        (sum((value - mean) ** 2 for value in values) / max(1, count - 1) / count) ** 0.5
        for values, mean in zip(depths, means, strict=True)
    ]
    difference, error = means[0] - means[1], (errors[0] ** 2 + errors[1] ** 2) ** 0.5
    agrees = (
        "agrees" if difference > 2 * error else "the opposite" if difference < -2 * error else "no clear difference"
    )
    return (
        f"the {count} highest lie at relative depth {text.with_error(means[0], errors[0])}, those of prefix matching "
        f"at {text.with_error(means[1], errors[1])} (0 is the first layer, 1 the last; ± over heads): {agrees}."
    )
