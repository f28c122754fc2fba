"""Requests as tokens, encoded as lm-eval does."""

from dataclasses import dataclass
from typing import Any, Literal

from headcount.results import InputError

Encoding = Literal["joint", "apart"]


@dataclass(frozen=True)
class EncodedRequest:
    """A request as tokens: everything from `start` on is the continuation.

    Attributes:
        ids: Context and continuation.
        start: The index at which the continuation begins; at least 1.
        cut: The number of tokens of the context that were left out because it is too long.
    """

    ids: tuple[int, ...]
    start: int
    cut: int = 0


def encode(
    tokenizer: Any, context: str, continuation: str, *, longest: int, encoding: Encoding = "joint"
) -> EncodedRequest:
    """Encode a context and its continuation, the context cut from the left to fit.

    Joint (today's lm-eval): spaces at the end of the context go to the continuation, the whole is encoded once, with
    the special tokens that the tokenizer adds by default, and what follows the tokens of the context alone is the
    continuation. Apart (lm-eval at the paper's time): the two are encoded one by one, without special tokens. An empty
    context becomes the token that begins, or else ends, a text.

    Args:
        tokenizer: The model's tokenizer.
        context: The text in front.
        continuation: The text that is predicted.
        longest: Tokens that the model reads at most; the last one of a request is not read.
        encoding: Joint or apart.

    Raises:
        InputError: The continuation has no tokens, or does not fit on its own.
    """
    if encoding == "joint":
        head, tail = _encode_jointly(tokenizer, context, continuation)
    else:
        head, tail = _encode_bare(tokenizer, context) or [first_token(tokenizer)], _encode_bare(tokenizer, continuation)
    if not tail:
        raise InputError(f"the continuation {continuation!r} has no tokens of its own after {context[-40:]!r}")
    if len(tail) > longest:
        raise InputError(f"a continuation of {len(tail)} tokens does not fit into a context of {longest}")
    ids = (head + tail)[-(longest + 1) :]
    return EncodedRequest(tuple(ids), len(ids) - len(tail), len(head) + len(tail) - len(ids))


def _encode_jointly(tokenizer: Any, context: str, continuation: str) -> tuple[list[int], list[int]]:
    if not context:
        tail = _encode_bare(tokenizer, continuation)
        first = first_token(tokenizer)
        return ([first], tail) if tail[:1] != [first] else (tail[:1], tail[1:])
    stripped = context.rstrip()
    continuation, context = context[len(stripped) :] + continuation, stripped
    head = encode_with_special_tokens(tokenizer, context)
    return head, encode_with_special_tokens(tokenizer, context + continuation)[len(head) :]


def encode_with_special_tokens(tokenizer: Any, text: str) -> list[int]:
    """Encode a text with the tokenizer's default special tokens, but no second begin-of-text token."""
    first = tokenizer.decode(first_token(tokenizer))
    special = {"add_special_tokens": False} if first and text.startswith(first) else {}
    ids: list[int] = tokenizer.encode(text, **special)
    return ids


def _encode_bare(tokenizer: Any, text: str) -> list[int]:
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False)
    return ids


def first_token(tokenizer: Any) -> int:
    """Return the token in front of a text that has nothing before it: the one that begins texts, or else ends them.

    Raises:
        InputError: The tokenizer has neither.
    """
    token = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    if token is None:
        raise InputError("an empty context needs a tokenizer with a begin- or end-of-text token")
    return int(token)
