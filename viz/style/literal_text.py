"""Texts of unknown origin for plotly, shown character by character: no markup and no invisible characters."""

import unicodedata

JOINER = "\u200d"  # invisible, but it joins several emoji into one
ISOLATE, END = "\u2068", "\u2069"
RIGHT_TO_LEFT = frozenset({"R", "AL", "AN"})
# plotly reads tags, entities and, in a page with MathJax, text between dollars as a formula. It knows no entity for
# quotation marks, which are safe in its texts: after html.escape, `&quot;` would be visible.
MARKUP = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", "$": "&#36;"})


def literal(text: str) -> str:
    """Return a text that plotly shows as it is.

    Line breaks, tabs and other invisible characters become their escapes in Python. Text from right to left stays in
    its order and does not change the order of the text around it.

    Args:
        text: Any text.

    Returns:
        The text in the subset of HTML that plotly reads.
    """
    shown = "".join(map(_visible, text)).translate(MARKUP)
    right_to_left = any(unicodedata.bidirectional(character) in RIGHT_TO_LEFT for character in text)
    return f"{ISOLATE}{shown}{END}" if right_to_left else shown


def token(text: str, longest: int) -> str:
    """Return a token with middle dots for spaces; if it is longer than `longest`, its beginning and an ellipsis."""
    return literal((text if len(text) <= longest else text[: longest - 1] + "…").replace(" ", "·"))


def _visible(character: str) -> str:
    if character.isprintable() or character == JOINER:
        return character
    return character.encode("unicode_escape").decode("ascii")
