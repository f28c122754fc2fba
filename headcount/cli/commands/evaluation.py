"""Commands that remove sets of heads: kinds of heads that a task needs, and rankings by what their last heads cost."""

from collections import Counter
from dataclasses import replace
from typing import Annotated

from cyclopts import Parameter

from headcount.cli.checks import check_percents, check_seeds
from headcount.cli.options import Ablation, Json, Percents, TargetOptions, TaskOptions, WholeNumbers
from headcount.cli.output import measure_and_print

Ablations = Annotated[tuple[Ablation, ...], Parameter(consume_multiple=True, negative="", show_default=" ".join)]
Words = Annotated[tuple[str, ...], Parameter(consume_multiple=True, negative="", show_default=" ".join)]


def causes(
    *,
    tasks: TaskOptions,
    target: TargetOptions,
    kinds: Words = ("induction", "function_vector", "importance", "gates"),
    ablations: Ablations = ("zero", "mean"),
    percents: Percents = (2, 5, 10, 20),
    random_seeds: WholeNumbers = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9),
    reference: Words = (),
    as_json: Json = False,
) -> None:
    """Measure which kind of heads a task needs, and which heads only go along.

    The highest heads of each kind are removed together, also without those of the other kinds, beside random sets with
    as many heads in each layer; and each of the highest 5 % alone, for a verdict on it. Scores that the run does not
    have yet are measured first. Needs --shots 2 or more for function vectors. After an interruption the same command
    goes on. See docs/causes.md.

    Args:
        tasks: The tasks.
        target: The model and the run.
        kinds: Kinds of heads: induction (prefix matching), function_vector, importance, gates (those that stay open
            though they cost).
        ablations: The values in the place of removed heads: zeros, or means over train rows.
        percents: The shares of all heads that count as the highest of a kind.
        random_seeds: Seeds of the random sets, one set each for every set of a kind.
        reference: Tasks whose train rows give the means of heads, and over which function-vector effects are averaged;
            the measured ones if left out. Name several: a mean over one task's prompts still says which task it is.
        as_json: Print the results' names as JSON.
    """
    from headcount.results import InputError, check_folder
    from headcount.study import HEAD_KINDS, causes_units, open_target

    _check_words("--kinds", kinds, HEAD_KINDS)
    check_percents("--percents", percents)
    check_seeds("--random-seeds", random_seeds)
    if len(random_seeds) < 2 or max(percents) > 50:
        raise InputError("expected two --random-seeds or more, and --percents of at most 50")
    check_folder(target.out)
    setups = tasks.load()
    others = replace(tasks, task=reference).load() if reference else ()
    model, run = open_target(target)
    units = causes_units(model, run, setups, ablations, kinds, percents, random_seeds, known=run, reference=others)
    measure_and_print(units, run, as_json, replace=target.replace)


def rank(
    *,
    tasks: TaskOptions,
    target: TargetOptions,
    rankings: Words = (),
    ablations: Ablations = ("zero", "mean"),
    as_json: Json = False,
) -> None:
    """Compare rankings of heads by what is left of a task as the last heads of each go, 10 to 100 %.

    Rankings are made on train rows and compared on the scored ones. Areas under accuracy, greedy exact match and gold
    log-probability, with errors over documents; CPR and CMD; and a verdict on the paper's headline, that 70 % of heads
    can go. After an interruption the same command goes on. See docs/causes.md.

    Args:
        tasks: The tasks.
        target: The model and the run.
        rankings: The rankings to compare with token, the published one; all of them if left out. gates-other, the mean
            of the other tasks' gates, needs two tasks or more with the same number of shots.
        ablations: The values in the place of removed heads: zeros, or means over train rows.
        as_json: Print the results' names as JSON.
    """
    from headcount.results import InputError, check_folder
    from headcount.study import RANKINGS, open_target, rank_units

    _check_words("--rankings", rankings, RANKINGS)
    check_folder(target.out)
    setups = tasks.load()
    if "gates-other" in rankings and max(Counter(setup.shots for setup in setups).values()) < 2:
        raise InputError("--rankings gates-other takes the gates of other tasks: name two or more with --task")
    model, run = open_target(target)
    chosen = [name for name in RANKINGS if not rankings or name in ("token", *rankings)]
    units = rank_units(model, run, setups, ablations, chosen, known=run)
    measure_and_print(units, run, as_json, replace=target.replace)


def _check_words(option: str, words: tuple[str, ...], known: tuple[str, ...]) -> None:
    from headcount.results import InputError

    if wrong := [word for word in words if word not in known]:
        raise InputError(f"{option} must be some of {', '.join(known)}, not {wrong[0]!r}")
