"""The report: a run as one HTML file that opens anywhere, without a network."""

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from plotly.io.json import to_json_plotly
from plotly.offline import get_plotlyjs

from headcount.results import HeadScores, InputError, Run, Table, open_run
from headcount.results.storage.files import write_whole
from headcount.viz import contents, facts, wording
from headcount.viz.attention_views import stored_patterns
from headcount.viz.attention_views.packing import circuits, packed, render
from headcount.viz.figures.layers import ffn_importance
from headcount.viz.figures.loss_curve import loss_by_repeat
from headcount.viz.figures.score_map import heads_for_page
from headcount.viz.figures.theme import THEMES, css_colours, template
from headcount.viz.html_report import removal, study, tables
from headcount.viz.html_report.second_run import COLUMNS, PREFIX, Against, set_against

MAX_MB = 5.0
Figure = dict[str, Any]  # as plotly reads it
ATTENTION = "<!--attention-->"  # names are escaped, so nothing in a run can be taken for this mark


def report(
    run: Run | str | PathLike[str],
    output: str | PathLike[str],
    *,
    against: Run | str | PathLike[str] | None = None,
    agreement: Table | None = None,
    max_mb: float = MAX_MB,
) -> Path:
    """Writes everything that a run holds into one self-contained HTML file.

    The page needs no network: plotly, circuitsvis, styles and data are all inside. The same run gives the same file. A
    section whose results are missing says which command makes them.

    Args:
        run: A run, or the folder of one.
        output: The HTML file; an existing one is replaced, and missing folders above it are made.
        against: A second run, or its folder, that is set against the first: head by head where the models have one
            shape, else by relative depth.
        agreement: Rank correlations of the two runs' scores, as `headcount report` computes them.
        max_mb: The size in megabytes up to which attention patterns are put in: those of all heads, or whole ones of
            the highest heads and the strongest keys of others, or none; the page says which.

    Returns:
        The path of the file.

    Raises:
        InputError: The folder is no run, one of its results is damaged, the second run has no scores in common with
            the first, `max_mb` is no positive number, or the file cannot be written or is one of a run.
    """
    if not 0 < max_mb < 1e9:
        raise InputError(f"max_mb: expected a number of megabytes above 0, got {max_mb}")
    run, found = _opened(run)
    pair = None if against is None else set_against(run, found, *_opened(against), agreement)
    path = Path(output)
    if path.suffix in (".json", ".safetensors"):
        raise InputError(f"{path}: a report is an HTML file, and a run's own files end like this; choose another name")
    write_whole(path, with_attention("report.html", _page(run, found, pair), found, max_mb).encode())
    return path


def _opened(run: Run | str | PathLike[str]) -> tuple[Run, contents.Contents]:
    run = run if isinstance(run, Run) else open_run(run)
    return run, contents.read(run)


def with_attention(template: str, values: Mapping[str, Any], found: contents.Contents, max_mb: float) -> str:
    """A page with the template's mark replaced by as much attention as its size allows."""
    prompts = stored_patterns.prompts_of(found.attention)
    page = render(template, **values, circuits=circuits() if prompts else "", prompts=prompts)
    room = max_mb * 1e6 - len(page.encode())
    return page.replace(ATTENTION, stored_patterns.elements(prompts, facts.first_heads(found), room), 1)


def _page(run: Run, found: contents.Contents, pair: Against | None) -> dict[str, Any]:
    """What the template is filled with."""
    figures, studied = figures_of(found), study.sections(found.everything)
    beside = [] if pair is None or pair.depth is None else [pair.depth]
    if pair is not None:
        figures |= {f"{PREFIX}{name}": _map(name, scores) for name, scores in pair.maps.items()}
    views = {section.name(view): view for section in (*beside, *studied) for view in section.views}
    figures |= {name: _plain(view.figure) for name, view in views.items() if view.figure is not None}
    topic = "What in-context learning needs in" if found.heads or found.ffns else "Induction heads of"
    return {
        "title": f"{topic} {run.manifest['model'].get('name', '')}",
        "model": {key: run.manifest["model"].get(key, "") for key in ("name", "revision", "fingerprint")},
        "measures": contents.MEASURES,
        "study": [*beside, *studied],
        "studied": bool(studied),
        "against": pair,
        "agreement_columns": COLUMNS,
        "claims": study.claims(found.everything),
        "reaches": removal.reaches(found.everything),
        "provenance": tables.provenance(run, found),
        **shared(found, figures),
    }


def shared(found: contents.Contents, figures: Mapping[str, Figure]) -> dict[str, Any]:
    """What every page is filled with: scripts, colours, data, and what turns results into words."""
    return {
        "found": found,
        "figures": figures,
        "metrics": facts.head_titles(found),
        "facts": facts,
        "tables": tables,
        "words": wording,
        "colours": {name: css_colours(theme) for name, theme in THEMES.items()},
        "data": packed(_figure_data(figures, facts.head_titles(found))),
        "plotly": packed(get_plotlyjs()) if figures else "",
    }


def figures_of(found: contents.Contents) -> dict[str, Figure]:
    """The figures by the name under which the page refers to them."""
    figures = {measure: _map(measure, scores) for measure, scores in found.maps.items()}
    if found.loss is not None:
        figures["repeat_loss"] = _plain(loss_by_repeat(found.loss))
    figures |= {(name := f"heads/{setting.name}"): _map(name, scores) for setting, scores in found.heads.items()}
    ffns = {f"ffns/{setting.name}": ffn_importance(scores, title="") for setting, scores in found.ffns.items()}
    figures |= {name: _plain(figure) for name, figure in ffns.items()}
    return figures


def _map(name: str, scores: HeadScores) -> Figure:
    limits = {"prefix_matching": (0.0, 1.0)}  # a share of attention, whatever its definition
    return heads_for_page(scores, limits=limits.get(name))


def _plain(figure: go.Figure) -> Figure:
    """A figure as plotly's JSON; the page gives it its colours."""
    plain: Figure = figure.to_plotly_json()
    del plain["layout"]["template"]
    return plain


def _figure_data(figures: Mapping[str, Figure], named: Mapping[str, str]) -> str:
    """The figures, what makes them light or dark, and what their maps are called, as JSON."""
    templates = {name: template(theme) for name, theme in THEMES.items()}
    # Maps of one model share their layout.
    texts = {name: to_json_plotly(figure["layout"]) for name, figure in figures.items()}
    layouts = {text: figures[name]["layout"] for name, text in texts.items()}
    places = {text: place for place, text in enumerate(layouts)}
    parts = {name: {**figure, "layout": places[texts[name]]} for name, figure in figures.items()}
    text: str = to_json_plotly(
        {"figures": parts, "layouts": list(layouts.values()), "templates": templates, "metrics": named}
    )
    return text
