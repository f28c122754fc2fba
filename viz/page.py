"""The report: a run as one HTML file that opens anywhere, without a network."""

from os import PathLike
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from plotly.io.json import to_json_plotly
from plotly.offline import get_plotlyjs

from results import Run, open_run
from results.files import write_whole
from viz import contents, facts, study, tables, words
from viz.curves import loss_by_repeat
from viz.layers import ffn_importance
from viz.packing import packed, render
from viz.scoremap import heads, heads_for_page
from viz.theme import THEMES, css_colours, template


def report(run: Run | str | PathLike[str], output: str | PathLike[str]) -> Path:
    """Writes everything that a run holds into one self-contained HTML file.

    The page needs no network: plotly, styles and data are all inside. The same run gives the same file. A section whose
    results are missing says which command makes them.

    Args:
        run: A run, or the folder of one.
        output: The HTML file; an existing one is replaced, and missing folders above it are made.

    Returns:
        The path of the file.

    Raises:
        InputError: The folder is no run, one of its results is damaged, or the file cannot be written.
    """
    run = run if isinstance(run, Run) else open_run(run)
    page = render("report.html", **_page(run, contents.read(run)))
    path = Path(output)
    write_whole(path, page.encode())
    return path


def _page(run: Run, found: contents.Contents) -> dict[str, Any]:
    """What the template is filled with."""
    figures, added = _figures(found), study.sections(found.everything)
    views = {section.name(view): view for section in added for view in section.views}
    figures |= {name: view.figure for name, view in views.items() if view.figure is not None}
    topic = "What in-context learning needs in" if found.heads or found.ffns else "Induction heads of"
    return {
        "title": f"{topic} {run.manifest['model'].get('name', '')}",
        "model": {key: run.manifest["model"].get(key, "") for key in ("name", "revision", "fingerprint")},
        "found": found,
        "measures": contents.MEASURES,
        "figures": figures,
        "study": added,
        "claims": study.claims(found.everything),
        "facts": facts,
        "tables": tables,
        "words": words,
        "provenance": tables.provenance(run, found),
        "colours": {name: css_colours(theme) for name, theme in THEMES.items()},
        "data": packed(_figure_data(figures)),
        "plotly": packed(get_plotlyjs()) if figures else "",
    }


def _figures(found: contents.Contents) -> dict[str, go.Figure]:
    """The figures by the name under which the page refers to them."""
    limits = {"prefix_matching": (0.0, 1.0)}  # a share of attention, whatever its definition
    figures = {measure: heads(scores, title="", limits=limits.get(measure)) for measure, scores in found.maps.items()}
    if found.loss is not None:
        figures["repeat_loss"] = loss_by_repeat(found.loss)
    figures |= {f"heads/{setting.name}": heads_for_page(scores) for setting, scores in found.heads.items()}
    figures |= {f"ffns/{setting.name}": ffn_importance(scores, title="") for setting, scores in found.ffns.items()}
    return figures


def _figure_data(figures: dict[str, go.Figure]) -> str:
    """The figures, and what makes them light or dark, as JSON."""
    templates = {name: template(theme) for name, theme in THEMES.items()}
    parts = {name: figure.to_plotly_json() for name, figure in figures.items()}
    for part in parts.values():
        del part["layout"]["template"]  # the page gives each figure its colours
    layouts = list({to_json_plotly(part["layout"]): part["layout"] for part in parts.values()}.values())
    for part in parts.values():
        part["layout"] = layouts.index(part["layout"])  # maps of one model share theirs
    text: str = to_json_plotly({"figures": parts, "layouts": layouts, "templates": templates})
    return text
