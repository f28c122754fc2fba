"""Commands that measure causes in single heads: function-vector heads, gates, paths between heads, composition."""

import re
from typing import Annotated, Literal

from cyclopts import Parameter

from headcount.cli.checks import check_at_least, check_seed, check_seeds
from headcount.cli.options import Json, Names, TargetOptions, TaskOptions, Whole, WholeNumbers
from headcount.cli.output import measure_and_print


def function_vectors(
    *,
    tasks: TaskOptions,
    target: TargetOptions,
    method: Literal["gradient", "patch"] = "gradient",
    as_json: Json = False,
) -> None:
    """Measure how well each head's mean output restores a task where the shots do not show it.

    Needs --shots 2 or more, whose answers are shuffled; 5 is usual. Where several tasks were measured at the same
    number of shots, also the means over tasks. After an interruption the same command goes on. See docs/causes.md.

    Args:
        tasks: The tasks; the limit is that of the prompts with shuffled answers.
        target: The model and the run.
        method: To first order, all heads in one backward pass, or by replacing each head's output.
        as_json: Print the results' names as JSON.
    """
    from headcount.results import check_folder
    from headcount.study import accuracy_unit, function_vector_unit, mean_units, open_target

    check_folder(target.out)
    for shots in tasks.shots:
        check_at_least("--shots", shots, 2)
    setups = tasks.load()
    model, run = open_target(target)
    units = [
        unit for setup in setups for unit in (accuracy_unit(model, setup), function_vector_unit(model, setup, method))
    ]
    measure_and_print(units, run, as_json, then=mean_units, replace=target.replace)


def gates(
    *,
    tasks: TaskOptions,
    target: TargetOptions,
    ablation: Literal["mean", "zero"] = "mean",
    seeds: WholeNumbers = (0, 1),
    steps: Whole = 100,
    strength: float = 0.003,
    as_json: Json = False,
) -> None:
    """Learn a gate on each head, and from it if the head facilitates a task, is irrelevant or interferes.

    Three results a task: gates-facilitating, gates-irrelevant and gates-interfering, each with -mean behind unless the
    ablation is zero. Where several tasks were measured at the same number of shots, also the means over tasks. See
    docs/causes.md.

    Args:
        tasks: The tasks; the limit is that of the examples that gates are learned on.
        target: The model and the run.
        ablation: The output of a head whose gate is closed: its mean, or zero.
        seeds: Seeds of the order of the examples, one fit each.
        steps: Steps of each of the three stages.
        strength: The price of one open gate, in nats.
        as_json: Print the results' names as JSON.
    """
    from headcount.results import InputError, check_folder
    from headcount.study import accuracy_unit, gates_unit, mean_units, open_target

    check_folder(target.out)
    check_seeds("--seeds", seeds)
    check_at_least("--steps", steps, 1)
    if not 0 < strength < float("inf"):
        raise InputError(f"--strength must be a price above 0, not {strength:g}")
    setups = tasks.load()
    model, run = open_target(target)
    units = [
        unit
        for setup in setups
        for unit in (accuracy_unit(model, setup), gates_unit(model, setup, ablation, seeds, steps, strength))
    ]
    measure_and_print(units, run, as_json, then=mean_units, replace=target.replace)


def paths(
    *,
    target: TargetOptions,
    head: Names,
    on: Literal["key", "query", "value"] = "key",
    path: Literal["direct", "total"] = "direct",
    sequences: Whole = 8,
    seed: Whole = 0,
    as_json: Json = False,
) -> None:
    """Measure which earlier heads an induction head's keys, queries or values are made of.

    On repeated random tokens: the fall of the head's prefix matching when an earlier head's contribution to this one
    input is replaced by its mean. See docs/causes.md.

    Args:
        target: The model and the run.
        head: The heads whose input is changed, such as L18H6.
        on: The input.
        path: The way from the earlier head: straight to the head, or through all layers between.
        sequences: The number of sequences of random tokens.
        seed: Seed of the sequences.
        as_json: Print the results' names as JSON.
    """
    from headcount.results import check_folder
    from headcount.study import open_target, paths_unit

    check_folder(target.out)
    check_at_least("--sequences", sequences, 1)
    check_seed("--seed", seed)
    heads = [_head(text) for text in dict.fromkeys(head)]
    model, run = open_target(target)
    units = [paths_unit(model, pair, on, path, sequences, seed) for pair in heads]
    measure_and_print(units, run, as_json, replace=target.replace)


def composition(
    *,
    target: TargetOptions,
    kind: Annotated[tuple[Literal["K", "Q", "V"], ...], Parameter(consume_multiple=True, negative="")] = (
        "K",
        "Q",
        "V",
    ),
    as_json: Json = False,
) -> None:
    """Score every pair of heads by how much of what the earlier one writes the later one reads, from the weights.

    See docs/causes.md.

    Args:
        target: The model and the run.
        kind: The input of the later head: its keys, queries or values.
        as_json: Print the results' names as JSON.
    """
    from headcount.results import check_folder
    from headcount.study import composition_unit, open_target

    check_folder(target.out)
    model, run = open_target(target)
    units = [composition_unit(model, name) for name in dict.fromkeys(kind)]
    measure_and_print(units, run, as_json, replace=target.replace)


def _head(text: str) -> tuple[int, int]:
    """Return the layer and head that a text such as L18H6 names."""
    from headcount.results import InputError

    if (match := re.fullmatch(r"[Ll](\d{1,6})[Hh](\d{1,6})", text)) is None:
        raise InputError(f"--head must be a layer and a head, such as L18H6, not {text:.40}")
    return int(match[1]), int(match[2])
