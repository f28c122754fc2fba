"""Texts of unknown origin as plotly shows them character by character: nothing in them is markup, nothing is unseen."""

import unicodedata

JOINER = "\u200d"  # unseen by itself, but it makes one emoji of several
ISOLATE, END = "\u2068", "\u2069"
RIGHT_TO_LEFT = frozenset({"R", "AL", "AN"})
# plotly reads tags, entities, and, where a page has MathJax, what stands between dollars as a formula. It knows no
# entity for quotation marks, which are safe in its texts: html.escape would leave `&quot;` to be seen.
MARKUP = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", "$": "&#36;"})


def literal(text: str) -> str:
    """A text that plotly will show as it is.

    Line breaks, tabs and other characters that cannot be seen become their escapes in Python; text from right to left
    keeps its order and leaves that of its surroundings alone.

    Args:
        text: Any text.

    Returns:
        The small part of HTML that plotly reads.
    """
    shown = "".join(map(_visible, text)).translate(MARKUP)
    turned = any(unicodedata.bidirectional(character) in RIGHT_TO_LEFT for character in text)
    return f"{ISOLATE}{shown}{END}" if turned else shown


def token(text: str, longest: int) -> str:
    """A token as it is, with middle dots for spaces; of one that is longer, the beginning and an ellipsis."""
    return literal((text if len(text) <= longest else text[: longest - 1] + "…").replace(" ", "·"))


def _visible(character: str) -> str:
    if character.isprintable() or character == JOINER:
        return character
    return character.encode("unicode_escape").decode("ascii")
