"""The report's section on what a head attends to, as a separate page for notebooks."""

from os import PathLike

from headcount.results import InputError, Run, open_run
from headcount.viz.contents import read_contents
from headcount.viz.embedded_page import EmbeddedPage
from headcount.viz.html_report.interactive_page import MAX_MB, check_size, interactive_page
from headcount.viz.html_report.page_figures import figures_of, map_titles

HEIGHT = 1000


def explorer(run: Run | str | PathLike[str], *, max_mb: float = MAX_MB) -> EmbeddedPage:
    """Show the heads of a run: score map, table, and what a head attends to; a choice in one changes the others.

    It is a section of the report. A saved notebook stores all of it, about 3 MB.

    Args:
        run: A run with scores of heads, or the folder of one.
        max_mb: As in `report`.

    Returns:
        A view for notebooks that can be saved.

    Raises:
        InputError: The folder is no run, one of its results is damaged, none is a map of heads, or `max_mb` is no
            positive number.
    """
    check_size(max_mb)
    run = run if isinstance(run, Run) else open_run(run)
    contents = read_contents(run)
    titles = map_titles(contents)
    if not titles:
        raise InputError(f"{run.folder}: expected scores of heads, found none; headcount induction --out measures them")
    figures = {name: figure for name, figure in figures_of(contents).items() if name in titles}
    title = f"Heads of {run.manifest['model'].get('name', '')}"
    return EmbeddedPage(interactive_page("explorer.html", contents, figures, max_mb, title=title), title, HEIGHT)
