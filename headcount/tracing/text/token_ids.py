"""Checks of tokens before a model takes them, and of the mask that says which of them are padding."""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from headcount.results import InputError


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


def split_encoding(tokens: Any, attention_mask: Any) -> tuple[Any, Any]:
    """Return the tokens and the mask of a tokenizer's encoding; of anything else, the two as they are.

    Raises:
        InputError: The encoding has no tokens, or a mask comes with it twice.
    """
    if not isinstance(tokens, Mapping):
        return tokens, attention_mask
    if "input_ids" not in tokens:
        raise InputError(
            f"expected an encoding with input_ids, got one with {', '.join(map(str, tokens)) or 'nothing'}"
        )
    if attention_mask is not None and "attention_mask" in tokens:
        raise InputError("the encoding has an attention_mask of its own: leave out attention_mask=")
    return tokens["input_ids"], tokens.get("attention_mask", attention_mask)


def check_sides(mask: Bool[Tensor, "batch pos"] | None, allowed: set[str], model_name: str) -> None:
    """Refuse padding on a side on which it changes what a model computes.

    Raises:
        InputError: A row is padded there.
    """
    for side, place in (("left", 0), ("right", -1)):
        if mask is not None and side not in allowed and not mask[:, place].all():
            raise InputError(
                f"{model_name} reads padding on the {side} (it does more than masked attention): run the rows one by "
                "one, or all of one length"
            )


def read_mask(attention_mask: Any, ids: Int[Tensor, "batch pos"]) -> Bool[Tensor, "batch pos"] | None:
    """Return a mask of tokens, True for those that are no padding; None if there is none, or all are.

    Raises:
        InputError: It is no mask of 0 and 1 in the tokens' shape, or a row has none, or padding between its tokens.
    """
    if attention_mask is None:
        return None
    mask = _tensor(attention_mask)
    if mask.shape != ids.shape or not bool(((mask == 0) | (mask == 1)).all()):
        raise InputError(
            f"attention_mask: expected 1 for each token and 0 for padding, of shape {list(ids.shape)}, got "
            f"{list(mask.shape)} of {mask.dtype}"
        )
    mask = mask.to(ids.device).bool()
    steps = mask.long().diff(dim=1).abs().sum(1)
    inside = (steps > 1) & ~((steps == 2) & ~mask[:, 0] & ~mask[:, -1])
    if not bool(mask.any(1).all()) or bool(inside.any()):
        raise InputError(
            "attention_mask: expected padding before or after the tokens of each row, and one token or more, got "
            f"{mask.long().tolist()!r:.200}"
        )
    return None if bool(mask.all()) else mask


def padding_inputs(mask: Bool[Tensor, "batch pos"] | None) -> dict[str, Tensor]:
    """Return the model's arguments for padded rows: those of each row alone.

    Padding after the tokens needs none, since no token attends to what comes after it.
    """
    if mask is None or bool(mask[:, 0].all()):
        return {}
    return {"attention_mask": mask.long(), "position_ids": (mask.long().cumsum(1) - 1).clamp(min=0)}


def check_no_padding(ids: Int[Tensor, "batch pos"], pad: int | None, usual: set[int | None], *, least: int = 1) -> None:
    """Refuse a batch that looks padded and comes without a mask: its padding would be read as text.

    Args:
        ids: The tokens.
        pad: The tokenizer's padding token.
        usual: Tokens that may begin or end a text: BOS and EOS.
        least: The number of them at an edge from which a row looks padded.

    Raises:
        InputError: Some rows begin, or end, with more padding than others; or all do, and it is no usual token.
    """
    if pad is None or ids.is_meta or not bool((edges := ids[:, [0, -1]] == pad).any()):
        return
    at_begin, at_end = ((part == pad).long().cumprod(1).sum(1) for part in (ids, ids.flip(1)))
    most = int(torch.maximum(at_begin, at_end).max())
    if most < least:
        return
    uneven = any(bool((counts != counts[0]).any()) for counts in (at_begin, at_end))
    if uneven or (pad not in usual and bool(edges.any())):
        raise InputError(
            f"{most} tokens at the edge of a row are the padding token {pad}, which "
            "would be read as text: pass the tokenizer's whole encoding, or its attention_mask= (of ones, if they are "
            "text)"
        )


def next_token_loss(
    logits: Float[Tensor, "batch pos vocab"], ids: Int[Tensor, "batch pos"], mask: Bool[Tensor, "batch pos"] | None
) -> Float[Tensor, ""]:
    """Return the mean cross-entropy of every next token, in nats; padding neither predicts nor is predicted.

    Raises:
        InputError: No token has one before it.
    """
    target = ids[:, 1:, None].to(logits.device)
    losses = -logits[:, :-1].float().log_softmax(-1).gather(-1, target)[..., 0]
    if mask is not None:
        losses = losses[(mask[:, 1:] & mask[:, :-1]).to(losses.device)]
    if not losses.numel():
        raise InputError("the loss needs a row of two tokens or more: one to read, one to predict")
    return losses.mean()


def _tensor(tokens: Any) -> Tensor:
    try:
        return torch.as_tensor(tokens)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            "tokens must be a tensor of whole numbers [batch, pos], a text, or a tokenizer's encoding with "
            f'return_tensors="pt". They are {type(tokens).__name__}: {error}'
        ) from error
