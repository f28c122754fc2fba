"""HTML pages from templates, with scripts and data packed so that a page stays small and safe."""

import base64
import gzip
import json
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2

TEMPLATES = Path(__file__).parent / "templates"
UNSAFE = {ord(sign): f"\\u{ord(sign):04x}" for sign in "<>&"}


def packed(data: str | bytes) -> str:
    """Return text or bytes as base64 of gzip, which the page inflates: plotly alone shrinks from 4.8 to 2.0 MB."""
    raw = data.encode() if isinstance(data, str) else data
    return base64.b64encode(gzip.compress(raw, mtime=0)).decode("ascii")


def script_json(value: Any) -> str:
    """Return JSON that is safe inside a script element: all of it is ASCII, and nothing in it ends the element.

    Raises:
        ValueError: A number in it is not finite, which JSON cannot express.
    """
    return json.dumps(value, allow_nan=False).translate(UNSAFE)


@cache
def circuitsvis_bundle() -> str:
    """Return circuitsvis' JavaScript, packed; from the installed package, since its own views load it from the web."""
    bundle = resources.files("circuitsvis") / "dist" / "cdn" / "iife.js"
    source = bundle.read_text(encoding="utf-8")
    return packed(source.rpartition("//# sourceMappingURL=")[0] or source)


def render(template: str, **values: Any) -> str:
    """Fill a template and return the page.

    Every value is escaped, since names in a run may come from anyone. A page must be UTF-8: half a letter, as in the
    name of a file that is not UTF-8, is written as its number.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["packed"] = packed
    page = environment.get_template(template).render(values)
    return page.encode(errors="backslashreplace").decode()
