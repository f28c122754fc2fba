"""The report's section on what a head attends to, for notebooks."""

from os import PathLike

from headcount.results import InputError, Run, open_run
from headcount.viz import contents, facts
from headcount.viz.attention_views.embedded import Embedded
from headcount.viz.html_report.page import MAX_MB, figures_of, shared, with_attention

HEIGHT = 1000


def explorer(run: Run | str | PathLike[str], *, max_mb: float = MAX_MB) -> Embedded:
    """Shows the heads of a run: score map, table and what a head attends to, each following the others.

    It is part of the report, and a notebook that keeps its output keeps all of it, some 3 MB.

    Args:
        run: A run with scores of heads, or the folder of one.
        max_mb: As in `report`.

    Returns:
        A view for notebooks that can be saved.

    Raises:
        InputError: The folder is no run, one of its results is damaged, none is a map of heads, or `max_mb` is no
            positive number.
    """
    if not max_mb > 0:
        raise InputError(f"max_mb: expected a number of megabytes above 0, got {max_mb}")
    run = run if isinstance(run, Run) else open_run(run)
    found = contents.read(run)
    named = facts.head_titles(found)
    if not named:
        raise InputError(f"{run.folder}: expected scores of heads, found none; headcount induction --out measures them")
    figures = {name: figure for name, figure in figures_of(found).items() if name in named}
    title = f"Heads of {run.manifest['model'].get('name', '')}"
    page = with_attention("explorer.html", {"title": title, **shared(found, figures)}, found, max_mb)
    return Embedded(page, title, HEIGHT)
