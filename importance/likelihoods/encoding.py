"""Requests as tokens, encoded as lm-eval does."""

from dataclasses import dataclass
from typing import Any, Literal

from headcount.results import InputError

Encoding = Literal["joint", "joint-keep-bos", "apart"]
"""The ways in which a context and its continuation become tokens; see `encode`."""


@dataclass(frozen=True)
class EncodedRequest:
    """A request as tokens: everything from `start` on is the continuation.

    Attributes:
        ids: Context and continuation.
        start: The index at which the continuation begins; at least 1.
        cut: The number of tokens of the context that were left out because it is too long.
        merged: True if the tokenizer joins the end of the context with the beginning of the continuation, so that what
            is scored is not the whole continuation.
    """

    ids: tuple[int, ...]
    start: int
    cut: int = 0
    merged: bool = False


def encode(
    tokenizer: Any, context: str, continuation: str, *, longest: int, encoding: Encoding = "joint"
) -> EncodedRequest:
    """Encode a context and its continuation, the context cut from the left to fit.

    Joint (today's lm-eval): spaces at the end of the context go to the continuation, the whole is encoded once, with
    the special tokens that the tokenizer puts in front by default, and what follows the tokens of the context alone is
    the continuation. A token that the tokenizer appends, such as EOS, is left out: with it behind both, the choices
    would tie. Joint-keep-bos: the same, and a context that is cut keeps its BOS in front, which some models (Gemma)
    cannot do without. Apart (lm-eval at the paper's time): the two are encoded one by one, without special tokens. An
    empty context becomes the token that begins, or else ends, a text.

    Args:
        tokenizer: The model's tokenizer.
        context: The text in front.
        continuation: The text that is predicted.
        longest: Tokens that the model reads at most; the last one of a request is not read.
        encoding: Joint, joint-keep-bos or apart.

    Raises:
        InputError: The continuation has no tokens, or does not fit on its own.
    """
    merged = False
    if encoding == "apart":
        head, tail = _encode_bare(tokenizer, context) or [first_token(tokenizer)], _encode_bare(tokenizer, continuation)
    else:
        head, tail, merged = _encode_jointly(tokenizer, context, continuation)
    if not tail:
        raise InputError(f"the continuation {continuation!r} has no tokens of its own after {context[-40:]!r}")
    if len(tail) > longest:
        raise InputError(f"a continuation of {len(tail)} tokens does not fit into a context of {longest}")
    ids = head + tail
    cut = max(0, len(ids) - (longest + 1))
    kept = head[:1] if cut and encoding == "joint-keep-bos" and head[:1] == [tokenizer.bos_token_id] else []
    ids = kept + ids[cut + len(kept) :]
    return EncodedRequest(tuple(ids), len(ids) - len(tail), cut, merged)


def _encode_jointly(tokenizer: Any, context: str, continuation: str) -> tuple[list[int], list[int], bool]:
    """Return the tokens of the context, those of the continuation, and True if the two share a token."""
    if not context:
        tail = _encode_bare(tokenizer, continuation)
        first = first_token(tokenizer)
        head, tail = ([first], tail) if tail[:1] != [first] else (tail[:1], tail[1:])
        return head, tail, False
    stripped = context.rstrip()
    continuation, context = context[len(stripped) :] + continuation, stripped
    head = encode_with_special_tokens(tokenizer, context)
    whole = encode_with_special_tokens(tokenizer, context + continuation)
    return head, whole[len(head) :], whole[: len(head)] != head


def encode_with_special_tokens(tokenizer: Any, text: str) -> list[int]:
    """Encode a text with the tokenizer's special tokens in front: no second begin-of-text token, none behind."""
    token = _begin_or_end(tokenizer)
    first = "" if token is None else tokenizer.decode(token)
    special = {"add_special_tokens": False} if first and text.startswith(first) else {}
    ids: list[int] = tokenizer.encode(text, **special)
    if not special and ids and ids[-1] in tokenizer.all_special_ids:
        return ids[: len(ids) - _appended(ids, _encode_bare(tokenizer, text))]
    return ids


def _appended(ids: list[int], bare: list[int]) -> int:
    """Return the number of tokens that stand behind those of the text itself."""
    for behind in range(len(ids) - len(bare) + 1):
        end = len(ids) - behind
        if ids[end - len(bare) : end] == bare:
            return behind
    return 0


def _encode_bare(tokenizer: Any, text: str) -> list[int]:
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False)
    return ids


def first_token(tokenizer: Any) -> int:
    """Return the token in front of a text that has nothing before it: the one that begins texts, or else ends them.

    Raises:
        InputError: The tokenizer has neither.
    """
    token = _begin_or_end(tokenizer)
    if token is None:
        raise InputError("an empty context needs a tokenizer with a begin- or end-of-text token")
    return token


def _begin_or_end(tokenizer: Any) -> int | None:
    token = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    return None if token is None else int(token)
