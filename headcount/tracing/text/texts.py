"""Texts as tokens, and tokens as texts."""

from collections.abc import Sequence
from typing import Any, TypeGuard

from headcount.results import InputError

UNFINISHED = "\ufffd"
"""Stands at the end of a decoded text for a character of which only some bytes are there."""


def is_text(tokens: Any) -> TypeGuard[str | Sequence[str]]:
    """Return True for a text, or a list of texts."""
    return isinstance(tokens, str) or (
        isinstance(tokens, list | tuple) and len(tokens) > 0 and all(isinstance(row, str) for row in tokens)
    )


def check_unicode(text: str) -> None:
    """Refuse half of a surrogate pair, which tokenizers cannot write in UTF-8.

    Raises:
        InputError: The text holds one.
    """
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        raise InputError(f"expected a text of valid Unicode, got half of a surrogate pair in {text!a:.80}")


def encode(tokenizer: Any, text: Any, bos: int | None, prepend_bos: bool | None, name: str) -> list[list[int]]:
    """Encode texts that have equally many tokens.

    Args:
        tokenizer: The model's tokenizer.
        text: One text, or several.
        bos: The token that begins a sequence, if there is one.
        prepend_bos: True begins every sequence with it, once; None does what the tokenizer does by default, though
            never twice.
        name: The model's name, for the error message.

    Raises:
        InputError: It is no text or no valid Unicode, the texts differ in length, or there is no BOS token.
    """
    if not is_text(text):
        raise InputError(f"expected a text, or a list of texts, got {text!r:.80}")
    if prepend_bos and bos is None:
        raise InputError(f"{name} has no BOS token: leave prepend_bos out")
    rows = [text] if isinstance(text, str) else list(text)
    encoded = [_encode_one(tokenizer, row, bos, prepend_bos) for row in rows]
    if len({len(row) for row in encoded}) > 1 or not all(encoded):
        raise InputError(
            f"texts must have equally many tokens, at least one; these have {[len(row) for row in encoded]}: pass "
            'model(tokenizer(texts, padding=True, return_tensors="pt")), or one text at a time'
        )
    return encoded


def _encode_one(tokenizer: Any, text: str, bos: int | None, prepend_bos: bool | None) -> list[int]:
    check_unicode(text)
    ids: list[int] = tokenizer.encode(text, add_special_tokens=prepend_bos is None)
    if prepend_bos and bos is not None:
        ids = [bos, *ids]
    # A text that begins with the BOS token's own letters has one already.
    if bos is not None and prepend_bos is not False and ids[:2] == [bos, bos] and _begins_with(tokenizer, text, bos):
        return ids[1:]
    return ids


def _begins_with(tokenizer: Any, text: str, bos: int) -> bool:
    """Return True if a text begins with the BOS token once, not twice."""
    letters = tokenizer.decode([bos])
    return bool(letters) and text.startswith(letters) and not text.startswith(2 * letters)


def token_texts(tokenizer: Any, ids: Sequence[int]) -> list[str]:
    """Return tokens as texts that together are the text of all of them, spaces included.

    Of a character that several tokens spell byte by byte, the last one has the character, and those before are empty.
    """
    texts, start, done = [], 0, 0  # tokens up to `done` are written; decoding begins at `start`, for the spaces' sake
    for end in range(1, len(ids) + 1):
        before, text = decode(tokenizer, ids[start:done]), decode(tokenizer, ids[start:end])
        if text.endswith(UNFINISHED) and end < len(ids):
            texts.append("")
            continue
        texts.append(text[len(before) :])
        start, done = done, end
    return texts


def decode(tokenizer: Any, ids: Sequence[int]) -> str:
    """Return the text of tokens, special ones included."""
    text: str = tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)
    return text
