"""The command line: each command is a few lines over one public function.

Exit status 0: done; 1: failed; 2: bad input, with one line that says what was expected, what came and what to do.
"""

import json
import os
import sys
import warnings
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, CycloptsError, Parameter

from headcount.progress import say

# The rooms import torch and transformers, which takes seconds: each command imports what it needs when it runs.

app = App(
    name="headcount",
    help="Which attention heads and feed-forward networks of a language model does in-context learning need?",
    help_format="markdown",
    version_flags=["--version"],
)

Json = Annotated[bool, Parameter(name="--json", negative="")]


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
    from headcount.measure import induction_units, measure_units
    from results import create_run
    from tracing import identity, load_model

    _check_folder(out)
    _check_at_least("--sequences", sequences, 1)
    _check_at_least("--seed", seed, 0)
    loaded = load_model(model, dtype=dtype, device_map=device)
    run = create_run(out, model=_described(loaded, identity(loaded)), version=_version())
    measured = measure_units(induction_units(loaded, sequences, seed, control=control), run)
    if as_json:
        print(json.dumps({"out": str(out), "measured": measured, "results": list(run.names)}, indent=2))
    else:
        print(f"{len(measured)} results measured, {len(run.names)} in {out}. See them: headcount show {out}")


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
def report(folder: Path, /, *, output: Path = Path("report.html")) -> None:
    """Write a run's results into one self-contained HTML file.

    Args:
        folder: Run directory.
        output: File to write.
    """
    import viz
    from results import open_run

    written = viz.report(open_run(folder), output)
    print(f"{written} ({written.stat().st_size / 1e6:.1f} MB)")


@app.command
def fetch(*names: str) -> None:
    """Get the default model into the cache; the other commands do it when they must.

    Args:
        names: What to fetch; everything there is if left out.
    """
    from results import InputError
    from tracing import default_model

    for name in names or (default_model.NAME,):
        if name != default_model.NAME:
            raise InputError(f"{name!r} cannot be fetched: expected {default_model.NAME}")
        if not default_model.available():
            say(f"fetching {default_model.TITLE} (93 MB), then converting it once")
        folder, title = default_model.fetch()
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
