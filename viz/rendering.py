"""HTML pages from templates, with scripts and data packed so that a page stays small and safe."""

import gzip
import json
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

TEMPLATES = Path(__file__).parent / "templates"
BITS = 13
UNSAFE = {ord(sign): f"\\u{ord(sign):04x}" for sign in "<>&"}


SIGNS = " \t" + "".join(sign for sign in map(chr, range(33, 127)) if sign not in "&<>\"'")
"""91 signs that stand for themselves in a script element, and in the attribute of a notebook's frame."""


def packed(data: str | bytes) -> str:
    """Return text or bytes as gzip in `SIGNS`, which the page inflates: plotly alone shrinks from 4.8 to 1.8 MB."""
    raw = data.encode() if isinstance(data, str) else data
    return as_signs(gzip.compress(raw, mtime=0))


def as_signs(data: bytes) -> str:
    """Return bytes as text: two of 91 signs for every 13 bits, a thirteenth less than base64.

    Bits are taken from the highest of each byte on, and filled up with zeros. Where these amount to a further byte, a
    last sign more, which makes the length odd, says that it is none.
    """
    bits = np.unpackbits(np.frombuffer(data, np.uint8))
    missing = -len(bits) % BITS
    rows = np.pad(bits, (0, missing)).reshape(-1, BITS)
    numbers = np.packbits(rows, axis=1).view(">u2").ravel() >> (16 - BITS)
    places = np.stack(np.divmod(numbers, len(SIGNS)), axis=1)
    text = np.frombuffer(SIGNS.encode("ascii"), np.uint8)[places].tobytes().decode("ascii")
    return text + SIGNS[0] * (missing >= 8)


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
    environment.policies["json.dumps_kwargs"] = {}  # in the order that they come in
    page = environment.get_template(template).render(values)
    return page.encode(errors="backslashreplace").decode()
