"""The colours: text that can be read in both schemes."""

from itertools import product

import pytest

from headcount.viz.style.theme import NEUTRAL, SERIES, THEMES, css_colours, template


def luminance(colour: str) -> float:
    """Relative luminance as WCAG 2 defines it."""
    channels = [byte / 255 for byte in bytes.fromhex(colour.removeprefix("#"))]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return sum(weight * value for weight, value in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(left: str, right: str) -> float:
    dark, light = sorted((luminance(left), luminance(right)))
    return (light + 0.05) / (dark + 0.05)


def test_contrast_is_that_of_wcag() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize(
    ("scheme", "text", "ground"), product(THEMES, ("ink", "muted", "accent"), ("background", "surface"))
)
def test_text_can_be_read(scheme: str, text: str, ground: str) -> None:
    colours = css_colours(THEMES[scheme])
    assert contrast(colours[text], colours[ground]) >= 4.5


@pytest.mark.parametrize("colour", [*SERIES, NEUTRAL])
def test_curves_can_be_seen_on_every_ground(colour: str) -> None:
    grounds = [css_colours(theme)[name] for theme in THEMES.values() for name in ("background", "surface")]
    assert min(contrast(colour, ground) for ground in grounds) >= 3


def test_a_template_has_colours_and_no_content() -> None:
    layout = template(THEMES["dark"]).to_plotly_json()["layout"]
    assert layout["font"]["color"] == THEMES["dark"].ink
    assert not {"width", "height", "annotations"} & set(layout)
