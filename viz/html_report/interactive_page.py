"""Pages with figures and with what heads attend to: the report, and the explorer in notebooks."""

from collections.abc import Mapping
from typing import Any

from plotly.offline import get_plotlyjs

from headcount.results import InputError
from headcount.viz import number_format, wording
from headcount.viz.attention_views.stored_patterns import prompts_of
from headcount.viz.contents import Contents
from headcount.viz.html_report.attention import insert_attention
from headcount.viz.html_report.overview.first_screen import FirstScreen
from headcount.viz.html_report.overview.parts import head_data
from headcount.viz.html_report.page_figures import Figure, NumberStore, figure_data, map_titles, without_numbers
from headcount.viz.rendering import circuitsvis_bundle, packed, render
from headcount.viz.style.theme import THEMES, css_colours

MAX_MB = 5.0


def check_size(max_mb: float) -> None:
    """Check the size of a page.

    Raises:
        InputError: It is no positive number of megabytes.
    """
    if not 0 < max_mb < 1e9:
        raise InputError(f"max_mb: expected a number of megabytes above 0, got {max_mb}")


def interactive_page(
    template: str, contents: Contents, figures: Mapping[str, Figure], max_mb: float, **values: Any
) -> str:
    """Fill a template that shows figures and what heads attend to.

    Args:
        template: The template's name.
        contents: The results of the run.
        figures: The figures by name.
        max_mb: The size in megabytes up to which attention is stored in the page.
        **values: Further values of the template.

    Returns:
        The page, with all scripts and data inside.
    """
    titles, numbers, screen = map_titles(contents), NumberStore(), FirstScreen(contents)
    data = figure_data(without_numbers(figures, numbers), titles)
    page = render(
        template,
        contents=contents,
        embedded=template == "explorer.html",  # a notebook's frame has no address
        figures=figures,
        metrics=titles,
        prompts=prompts_of(contents.attention),
        heads=head_data(screen),
        wording=wording,
        number_format=number_format,
        colours={name: css_colours(theme) for name, theme in THEMES.items()},
        data=packed(data),
        numbers=packed(numbers.bytes()),
        plotly=packed(get_plotlyjs()) if figures else "",
        circuitsvis=circuitsvis_bundle() if contents.attention else "",
        **values,
    )
    return insert_attention(page, contents, max_mb)
