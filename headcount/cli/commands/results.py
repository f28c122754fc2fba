"""Commands that read a run: show it, compare it, report on it, publish it."""

from pathlib import Path

from headcount.cli.checks import check_at_least, check_share
from headcount.cli.commands.study import study
from headcount.cli.options import Flag, Json, Whole
from headcount.cli.output import print_json
from headcount.target import Target

QUICK_RUN = Path("runs/smollm2-135m")
"""The run of `report` without a run; `make report` writes the same."""


def show(
    folder: Path, name: str | None = None, /, *, section: str | None = None, top: Whole = 10, as_json: Json = False
) -> None:
    """Show a run's results as tables: a summary, one result, or a section.

    Args:
        folder: Run directory.
        name: One result, such as `importance/heads/piqa.5shot`.
        section: All results of a section: induction, control, accuracy, importance, pruning or analyses.
        top: The number of heads, or rows, to list of each result.
        as_json: Print them as JSON, all of them or those chosen.
    """
    from headcount.cli.run_tables import chosen_names, print_results, print_run, run_values
    from headcount.results import open_run

    check_at_least("--top", top, 1)
    run = open_run(folder)
    names = chosen_names(run, name, section)
    if as_json:
        print_json(run_values(run, names, top))
    elif name is None and section is None:
        print_run(run, top)
    else:
        print_results(run, names, top)


def compare(folder: Path, /, *more_runs: Path, top: float = 0.3, as_json: Json = False) -> None:
    """Compare the results of a run: across tasks, shots and scores; or compare several runs.

    With one run: rank correlations, overlap of the highest heads, and induction capacity retained; those that are
    missing are computed from the run's results and stored in it. With more: the first with each other, head by head
    where the models have one shape, else by relative depth.

    Args:
        folder: Run directory.
        more_runs: Further run directories.
        top: The share of highest heads whose overlap is measured.
        as_json: Print the comparison as JSON.
    """
    from headcount.cli.tables import json_safe, print_sections
    from headcount.results import InputError, Table, open_run
    from headcount.study import analysis_units, compare_runs, measure_units, summarise

    check_share("--top", top)
    run = open_run(folder)
    if more_runs:
        tables = [compare_runs(run, open_run(path), top) for path in more_runs]
        sections = {table.definition: table.records() for table in tables}
    else:
        measure_units(analysis_units(run, top), run)
        sections = summarise({name: table.records() for name, table in run.items() if isinstance(table, Table)})
    if not sections:
        raise InputError(f"{folder} has nothing to compare: headcount importance --task .. --out {folder}")
    if as_json:
        print_json(json_safe(sections))
    else:
        print_sections(sections)


def report(
    folder: Path | None = None,
    second: Path | None = None,
    /,
    *,
    output: Path = Path("report.html"),
    max_mb: float = 5.0,
) -> None:
    """Write a run's results into one self-contained HTML file.

    Without a run it measures the default model first, by `study --preset quick` into runs/smollm2-135m: some minutes.

    Args:
        folder: Run directory.
        second: A second run directory to compare with the first: head by head where the models have one shape, else
            by relative depth.
        output: File to write.
        max_mb: Megabytes up to which attention patterns are included; the page lists those left out.
    """
    from headcount import viz
    from headcount.results import open_run
    from headcount.study import compare_runs

    if folder is None:
        folder = QUICK_RUN
        study(target=Target(out=folder), preset="quick")
    run, second_run = open_run(folder), None if second is None else open_run(second)
    agreement = None if second_run is None else compare_runs(run, second_run)
    path = viz.report(run, output, against=second_run, agreement=agreement, max_mb=max_mb)
    print(f"{path} ({path.stat().st_size / 1e6:.1f} MB)")


def push(folder: Path, address: str, /, *, private: Flag = False, licence: str = "other") -> None:
    """Publish a run as a dataset on the Hugging Face Hub: results, manifest, and a card with figures and provenance.

    Log in before with `hf auth login`; the token is written nowhere. A dataset that holds another run, or anything
    else, is left as it is.

    Args:
        folder: Run directory.
        address: hf://datasets/OWNER/NAME, or hf://datasets/NAME for your own.
        private: Make a new dataset visible to you alone.
        licence: The licence of the results, as the Hub names it, such as cc-by-4.0.
    """
    from headcount.study import push_run

    print(push_run(folder, address, private=private, licence=licence))


def pull(address: str, folder: Path, /) -> None:
    """Fetch a run that was published with `push` into a new folder.

    Args:
        address: hf://datasets/OWNER/NAME, with @REVISION for another state than the newest.
        folder: A folder that does not exist yet, or an empty one.
    """
    from headcount.study import pull_run

    print(pull_run(address, folder))
