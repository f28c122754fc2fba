"""Commands that measure one thing: induction heads, importance of heads and networks, pruning."""

from typing import Annotated, Literal

from cyclopts import Parameter

from headcount.cli.checks import (
    check_at_least,
    check_for_heads,
    check_percents,
    check_seed,
    check_seeds,
    check_share,
)
from headcount.cli.options import Ablation, Json, Percents, TargetOptions, TaskOptions, Whole, WholeNumbers
from headcount.cli.output import measure_and_print


def induction(
    *, target: TargetOptions, sequences: Whole = 100, seed: Whole = 0, control: bool = True, as_json: Json = False
) -> None:
    """Measure prefix matching and copying of every head, the loss by repeat, and a random-weights control.

    The results go into a run directory. Results that are there already, measured with the same settings, are not
    measured again: after an interruption the same command goes on.

    Args:
        target: The model and the run.
        sequences: The number of sequences of random tokens; the paper takes 100, of 101 to 893 tokens.
        seed: Seed of the sequences.
        control: Also score the same architecture with random weights.
        as_json: Print the results' names as JSON.
    """
    from headcount.results import check_folder
    from headcount.study import induction_units, open_target

    check_folder(target.out)
    check_at_least("--sequences", sequences, 1)
    check_seed("--seed", seed)
    model, run = open_target(target)
    measure_and_print(induction_units(model, sequences, seed, control=control), run, as_json, replace=target.replace)


def importance(
    *,
    tasks: TaskOptions,
    target: TargetOptions,
    component: Literal["heads", "experts"] = "heads",
    method: Literal["gradient", "verified", "oracle"] = "gradient",
    reduction: Literal["example", "token", "drop", "signed"] = "example",
    ablation: Annotated[Ablation, Parameter(name=("--ablation", "--baseline"))] = "zero",
    steps: Whole = 1,
    share: float = 0.2,
    as_json: Json = False,
) -> None:
    """Measure how much tasks need each attention head, or each expert of a mixture.

    For every task and number of shots: the model's accuracy, and the importance of every head or expert; of experts
    also the share of the tokens that are sent to each. Where several tasks were measured at the same number of shots,
    also the means over tasks, of scores and of ranks. After an interruption the same command goes on.

    Args:
        tasks: The tasks.
        target: The model and the run.
        component: The parts to score.
        method: By gradients, all parts in one backward pass; by removing them one at a time; or by gradients, with the
            heads that are highest by example verified by removing them.
        reduction: Gradients to one number: example (the size of the effect on each example), token (the published
            code), drop (the log-probability, with the sign of removal) or signed (the paper's text).
        ablation: The values of removed heads, or those towards which gradients are taken: zeros; means over train rows;
            those of another train row's prompt; or of the prompt with its shots' answers shuffled.
        steps: Points towards these values at which gradients are taken (integrated gradients, layer by layer).
        share: The share of heads that --method verified removes.
        as_json: Print the results' names as JSON.
    """
    from headcount.results import check_folder
    from headcount.study import accuracy_unit, derived_units, expert_unit, head_unit, open_target

    check_folder(target.out)
    check_at_least("--steps", steps, 1)
    check_share("--share", share)
    if component == "experts":
        check_for_heads(
            ablation=None if ablation == "zero" else ablation,
            method=method if method == "verified" else None,
            steps=None if steps == 1 else steps,
        )
    setups = tasks.load()
    model, run = open_target(target)
    units = []
    for setup in setups:
        units.append(accuracy_unit(model, setup))
        if component == "heads":
            units.append(head_unit(model, setup, method, reduction, ablation, steps, share))
        else:
            units.append(expert_unit(model, setup, method, reduction))
    measure_and_print(
        units, run, as_json, then=lambda run: derived_units(run, model.sizes.n_layers), replace=target.replace
    )


def ffn(
    *,
    tasks: TaskOptions,
    target: TargetOptions,
    rank_split: Literal["train"] | None = None,
    ablation: Ablation = "zero",
    as_json: Json = False,
) -> None:
    """Measure how much accuracy tasks lose without each feed-forward network.

    One network is removed at a time. After an interruption the same command goes on.

    Args:
        tasks: The tasks.
        target: The model and the run.
        rank_split: Score the rows that shots come from, so that a ranking is tested on other rows than it was
            measured on.
        ablation: The values of removed networks: zeros; means over train rows; those of another train row's prompt; or
            of the prompt with its shots' answers shuffled.
        as_json: Print the results' names as JSON.
    """
    from headcount.results import check_folder
    from headcount.study import accuracy_unit, ffn_unit, mean_units, open_target

    check_folder(target.out)
    setups = tasks.load(("scored", "train") if rank_split or ablation in ("mean", "resample") else ("scored",))
    model, run = open_target(target)
    units = [
        unit for setup in setups for unit in (accuracy_unit(model, setup), ffn_unit(model, setup, rank_split, ablation))
    ]
    measure_and_print(units, run, as_json, then=mean_units, replace=target.replace)


def prune(
    *,
    tasks: TaskOptions,
    target: TargetOptions,
    component: Literal["heads", "ffns", "both", "kv_groups", "experts"] = "heads",
    strategy: Literal["static", "recomputed", "random"] = "static",
    percents: Percents = (10, 20, 30, 40, 50, 60, 70, 80, 90),
    seeds: WholeNumbers = (0, 1, 2),
    ablation: Ablation = "zero",
    as_json: Json = False,
) -> None:
    """Measure accuracy as heads, feed-forward networks, or other parts are removed, the least important first.

    Importance that the run does not have yet is measured first. After an interruption the same command goes on.

    Args:
        tasks: The tasks.
        target: The model and the run.
        component: The parts to remove; both is a grid of heads, to 70 %, by feed-forward networks, to 50 %; kv_groups
            are heads that share keys and values, ranked by the mean of their scores; experts are those of mixtures.
        strategy: By one ranking (the paper), ranked again before each step, or in random orders (the control).
        percents: Percentages to remove; not for both.
        seeds: Seeds of random orders, one order each.
        ablation: The values of removed parts: zeros; means over train rows; those of another train row's prompt; or of
            the prompt with its shots' answers shuffled. Heads are ranked alike for all.
        as_json: Print the results' names as JSON.
    """
    from headcount.results import check_folder
    from headcount.study import open_target, pruning_units

    check_seeds("--seeds", seeds)
    check_percents("--percents", percents)
    check_folder(target.out)
    setups = tasks.load()
    model, run = open_target(target)
    units = pruning_units(model, run, setups, component, strategy, percents, seeds, ablation)
    measure_and_print(units, run, as_json, replace=target.replace)
