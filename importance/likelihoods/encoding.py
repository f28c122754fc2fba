"""Text requests as tokens, as the evaluation harness encodes them."""

from typing import Any, Literal

from headcount.importance.likelihoods.prefix_tree import Tokens
from headcount.results import InputError

Encoding = Literal["joint", "apart"]


def encode(tokenizer: Any, context: str, continuation: str, *, longest: int, encoding: Encoding = "joint") -> Tokens:
    """Context and continuation as tokens, the context cut from the left to fit.

    Joint (the harness of today): spaces at the end of the context go to the continuation, the whole is encoded once,
    with the special tokens that the tokenizer adds by default, and what follows the tokens of the context alone is the
    continuation. Apart (the harness of the paper's time): the two are encoded one by one, without special tokens.
    An empty context becomes the token that begins, or else ends, a text.

    Args:
        tokenizer: The model's tokenizer.
        context: What is given.
        continuation: What is predicted.
        longest: Tokens the model reads at most; the last one of a request is not read.
        encoding: Joint or apart.

    Raises:
        InputError: The continuation has no tokens, or does not fit on its own.
    """
    if encoding == "joint":
        head, tail = _joint(tokenizer, context, continuation)
    else:
        head, tail = _plain(tokenizer, context) or [prefix_token(tokenizer)], _plain(tokenizer, continuation)
    if not tail:
        raise InputError(f"the continuation {continuation!r} has no tokens of its own after {context[-40:]!r}")
    if len(tail) > longest:
        raise InputError(f"a continuation of {len(tail)} tokens does not fit into a context of {longest}")
    ids = (head + tail)[-(longest + 1) :]
    return Tokens(tuple(ids), len(ids) - len(tail), len(head) + len(tail) - len(ids))


def _joint(tokenizer: Any, context: str, continuation: str) -> tuple[list[int], list[int]]:
    if not context:
        tail = _plain(tokenizer, continuation)
        prefix = prefix_token(tokenizer)
        return ([prefix], tail) if tail[:1] != [prefix] else (tail[:1], tail[1:])
    bare = context.rstrip()
    continuation, context = context[len(bare) :] + continuation, bare
    head = with_defaults(tokenizer, context)
    return head, with_defaults(tokenizer, context + continuation)[len(head) :]


def with_defaults(tokenizer: Any, text: str) -> list[int]:
    """A text with the special tokens that the tokenizer adds by default, but no second begin-of-text token."""
    prefix = tokenizer.decode(prefix_token(tokenizer))
    special = {"add_special_tokens": False} if prefix and text.startswith(prefix) else {}
    ids: list[int] = tokenizer.encode(text, **special)
    return ids


def _plain(tokenizer: Any, text: str) -> list[int]:
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False)
    return ids


def prefix_token(tokenizer: Any) -> int:
    """What stands before a text that has nothing before it: the token that begins texts, or else ends them.

    Raises:
        InputError: The tokenizer has neither.
    """
    token = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    if token is None:
        raise InputError("an empty context needs a tokenizer with a begin- or end-of-text token")
    return int(token)
