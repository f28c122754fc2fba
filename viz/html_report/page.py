"""The report: a run as one HTML file that opens anywhere without a network.

The first screens are made in `overview`; `_groups` lists the sections of the appendix in order.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Any

from headcount.results import Accuracy, InputError, Result, Run, Table, open_run
from headcount.results.internal import write_whole
from headcount.viz.contents import Contents, read_contents
from headcount.viz.html_report.analysis_tables import results_at_shots
from headcount.viz.html_report.interactive_page import MAX_MB, check_size, interactive_page
from headcount.viz.html_report.overview import parts
from headcount.viz.html_report.overview.answers import five_answers
from headcount.viz.html_report.overview.evidence import opening_importance, opening_view
from headcount.viz.html_report.overview.first_screen import FirstScreen
from headcount.viz.html_report.overview.removable_shares import removable_shares
from headcount.viz.html_report.page_figures import Figure, figures_of, plain, score_map, view_figures
from headcount.viz.html_report.sections import (
    atlas,
    causes,
    claims,
    control,
    importance,
    learning,
    provenance,
    pruning,
    score_maps,
    second_run,
)
from headcount.viz.html_report.sections.agreement import importance_checks, induction_and_importance, task_agreement
from headcount.viz.html_report.sections.second_run import RunComparison
from headcount.viz.html_report.views import Section

LINKS = {
    "which": "Which heads",
    "sure": "How sure",
    "on-text": "On text",
    "removal": "How many can go",
    "agree": "Do tasks agree",
    "attention": "A head",
    "appendix": "Appendix",
}
"""The links of the first screens, text by anchor."""

FOLDED = 8  # with more tables or results than this, the page packs them and unfolds them on demand


@dataclass(frozen=True)
class SectionGroup:
    """One or several sections of the page that come from one template.

    Attributes:
        template: The name of its template, and of the module in `sections` whose functions the template calls.
        links: The links to its sections at the top of the appendix, text by anchor.
        section: The section to show with the template `views`.
    """

    template: str
    links: Mapping[str, str] = field(default_factory=dict)
    section: Section | None = None

    @classmethod
    def of_views(cls, section: Section) -> "SectionGroup":
        """Return the group of one section with views."""
        return cls("views", {section.key: section.title}, section)


def _groups(contents: Contents, comparison: RunComparison | None) -> list[SectionGroup]:
    """Return the groups of sections of the appendix, in order."""
    has_claims = bool(claims.claim_rows(contents.results))
    studied = study_sections(contents.results)
    depth = None if comparison is None else comparison.depth
    by_length = score_maps.lengths(contents.maps)
    return [
        *([SectionGroup("claims", {"claims": "Claims"})] if has_claims else []),
        SectionGroup("score_maps", {"maps": "Score maps", "heads": "Top heads"}),
        *([SectionGroup.of_views(by_length)] if by_length.views else []),
        SectionGroup("learning", {"learning": "In-context learning"}),
        SectionGroup("control", {"control": "Control"}),
        SectionGroup("importance", {"tasks": "Tasks", "needed-heads": "Needed heads", "needed-ffns": "Needed FFNs"}),
        *([] if comparison is None else [SectionGroup("second_run", {"against": f"Against {comparison.second}"})]),
        *([] if depth is None else [SectionGroup.of_views(depth)]),
        *([SectionGroup.of_views(section) for section in studied] or [SectionGroup("no_study", {"study": "A study"})]),
        SectionGroup("caveats", {"caveats": "What these numbers do not show"}),
        SectionGroup("provenance", {"provenance": "Provenance"}),
    ]


def study_sections(results: Mapping[str, Result]) -> list[Section]:
    """Return the sections on a study for which the run has results, in order."""
    sections = [
        atlas.worth_knowing(results),
        atlas.scores(results),
        causes.needed_kinds(results),
        causes.verdicts(results),
        causes.rankings(results),
        importance.needed_experts(results),
        pruning.curves(results),
        pruning.grids(results),
        task_agreement.correlations(results),
        task_agreement.across_shots(results),
        task_agreement.overlaps(results),
        induction_and_importance.capacities(results),
        induction_and_importance.agreements(results),
        induction_and_importance.layers(results),
        importance_checks.gradients(results),
        importance_checks.other_ablations(results),
        importance_checks.reliabilities(results),
    ]
    accuracy = {
        name.setting: measured
        for name, _, measured in results_at_shots(results, Accuracy)
        if name.setting is not None and name.folder == "accuracy"
    }
    return [replace(section, opening=opening_view(section, accuracy)) for section in sections if section.views]


def report(
    run: Run | str | PathLike[str],
    output: str | PathLike[str],
    *,
    against: Run | str | PathLike[str] | None = None,
    agreement: Table | None = None,
    max_mb: float = MAX_MB,
) -> Path:
    """Write all results of a run into one self-contained HTML file.

    The page needs no network: plotly, circuitsvis, styles and data are all inside. The same run gives the same file. A
    section without results names the command that measures them.

    Args:
        run: A run, or the folder of one.
        output: The HTML file; an existing one is replaced, and missing folders above it are created.
        against: A second run, or its folder, to compare with the first: head by head if the models have one shape, else
            by relative depth.
        agreement: Rank correlations of the two runs' scores, as `headcount report` computes them.
        max_mb: The size in megabytes up to which attention patterns are stored: those of all heads, or whole ones of
            the highest heads and the strongest keys of others, or none; the page lists what it stores.

    Returns:
        The path of the file.

    Raises:
        InputError: The folder is no run, one of its results is damaged, the second run has no scores in common with
            the first, `max_mb` is no positive number, or the file cannot be written or is one of a run.
    """
    check_size(max_mb)
    run, contents = _read(run)
    comparison = None if against is None else second_run.comparison_of(run, contents, *_read(against), agreement)
    path = Path(os.path.expanduser(output))
    if path.suffix in (".json", ".safetensors"):
        raise InputError(f"{path}: a report is an HTML file, and a run's own files end like this; choose another name")
    write_whole(path, _page(run, contents, comparison, max_mb).encode())
    return path


def _read(run: Run | str | PathLike[str]) -> tuple[Run, Contents]:
    run = run if isinstance(run, Run) else open_run(run)
    return run, read_contents(run)


def _page(run: Run, contents: Contents, comparison: RunComparison | None, max_mb: float) -> str:
    model, groups, screen = run.manifest["model"], _groups(contents, comparison), FirstScreen(contents)
    topic = "What in-context learning needs in" if contents.heads or contents.ffns else "Induction heads of"
    return interactive_page(
        "page.html",
        contents,
        _figures(screen, comparison, groups),
        max_mb,
        title=f"{topic} {model.get('name', '')}",
        model={key: model.get(key, "") for key in ("name", "revision", "fingerprint")},
        links=LINKS,
        screen=screen,
        answers=five_answers(screen),
        parts=parts,
        shares=removable_shares(contents.results),
        opening={part: opening_importance(contents, getattr(contents, part)) for part in ("heads", "ffns")},
        groups=groups,
        comparison=comparison,
        origin=provenance.provenance_of(run, contents.results),
        folded_from=FOLDED,
        **_modules(),
    )


def _figures(screen: FirstScreen, comparison: RunComparison | None, groups: list[SectionGroup]) -> dict[str, Figure]:
    figures = figures_of(screen.contents)
    figures |= {name: plain(figure) for name, figure in parts.figures(screen).items()}
    if comparison is not None:
        figures |= {f"{second_run.PREFIX}{name}": score_map(name, scores) for name, scores in comparison.maps.items()}
    return figures | view_figures(group.section for group in groups if group.section is not None)


def _modules() -> dict[str, Any]:
    """Return the modules whose functions the templates of the same names call, and those they share."""
    modules = (claims, control, importance, learning, provenance, score_maps, second_run)
    return {module.__name__.rpartition(".")[2]: module for module in modules}
