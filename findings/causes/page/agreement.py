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
    """Return the sentences on what the two kinds cost, share by share."""
    effects = {str(setting): of_task for setting, of_task in run.solved(ablation).items()}
    if not effects or not {FIRST, SECOND} <= {kind for of_task in effects.values() for kind in of_task.kinds}:
        return []
    shares = sorted({share for of_task in effects.values() for share in of_task.percents})
    more = {
        words: text.listed(_more(effects, share, alone) for share in shares)
        for alone, words in ((False, "whole sets"), (True, "each without the heads of other kinds"))
    }
    alone = text.listed(_alone(run, ablation, share) for share in shares)
    return [
        f"*Function-vector heads matter more*, {ablation} ablation: exact match lost without function-vector heads, "
        f"less that lost without induction heads (95 % over tasks), which agrees if above 0 by two standard errors. "
        f"{'. '.join(f'{words.capitalize()}: {results}' for words, results in more.items())}.",
        f"*Induction heads matter little by themselves*, {ablation} ablation: exact match lost beyond random heads "
        f"without the induction heads that no other kind has. {alone}.",
    ]


def _more(effects: dict[str, SetEffects], share: float, alone: bool) -> str:
    result = compare.kind_difference(effects, FIRST, SECOND, share, alone, "exact_match")
    if result is None:
        return f"{share:g} %, no heads left"
    agrees = "agrees" if result.mean - 2 * result.stderr > 0 else "does not agree"
    agrees = "the opposite" if result.mean + 2 * result.stderr < 0 else agrees
    difference = text.with_error(result.mean, result.stderr)
    return f"{share:g} %, {difference} ({text.interval(result.low, result.high)}; {agrees})"


def _alone(run: ModelRun, ablation: str, share: float) -> str:
    table = mean_table(run, ablation)
    entry = (SECOND, share, True, "exact_match")
    if entry not in table.index:
        return f"{share:g} %, no heads left"
    row = table.loc[entry]
    lost = text.with_error(row["beyond_random"], row["beyond_random_stderr"])
    return f"{share:g} %, {lost} ({verdict(row)})"


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
        agrees = "agrees" if 2 * len(first & second) < count else "does not agree"
        expected = f"by chance {count * count / n:.1f}"
        shares.append(f"{len(first & second)} of the {count} highest ({percent} %; {expected}; {agrees})")
    return (
        f"the function-vector effect (mean over tasks) has Spearman's rho {text.number(rho.rho)} with prefix matching; "
        f"both rank {text.listed(shares)}, which agrees if fewer than half are shared."
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
