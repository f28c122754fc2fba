"""Checks of texts and tokens before a model takes them."""

from collections.abc import Sequence
from typing import Any, TypeGuard

import torch
from jaxtyping import Int
from torch import Tensor

from headcount.results import InputError


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


def token_ids(tokens: Any, vocab: int, name: str) -> Int[Tensor, "..."]:
    """Return tokens of any shape as int64.

    Args:
        tokens: A tensor, an array or nested lists of whole numbers.
        vocab: The number of tokens in the model's vocabulary.
        name: The model's name, for the error message.

    Raises:
        InputError: The tokens are not whole numbers, or one is outside the vocabulary.
    """
    ids = _tensor(tokens)
    if ids.numel() and (ids.is_floating_point() or ids.is_complex() or ids.dtype == torch.bool):
        raise InputError(f"tokens must be whole numbers, not {ids.dtype}")
    ids = ids.long()
    if not ids.is_meta and (outside := ids[(ids < 0) | (ids >= vocab)]).numel():
        raise InputError(f"token {int(outside[0])} is outside {name}'s vocabulary of {vocab} tokens")
    return ids


def _tensor(tokens: Any) -> Tensor:
    try:
        return torch.as_tensor(tokens)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            "tokens must be a tensor of whole numbers [batch, pos], or a text; from a tokenizer, pass "
            f'encoding["input_ids"]. They are {type(tokens).__name__}: {error}'
        ) from error
