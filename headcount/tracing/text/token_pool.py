"""Tokens that are neither rare nor very frequent: the middle of a tokenizer's frequency ranking (Bansal et al. 2023).

Byte-pair encoding merges the most frequent pair first, so the order of a tokenizer's merges stands in for the frequency
of the merged tokens.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from jaxtyping import Int64
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from headcount.results import InputError

Source = Literal["merges", "scores", "ids"]

EDGE = 0.04
"""The share of the ranking that is left out at each end."""


@dataclass(frozen=True, eq=False)
class TokenPool:
    """Token ids to draw sequences from.

    Attributes:
        ids: Distinct ids, from the most to the least frequent as far as the source knows, [token].
        source: The source of the ranking: the tokenizer's merges, its scores, or the order of the ids.
    """

    ids: Int64[Tensor, " token"]
    source: Source


def token_pool(tokenizer: PreTrainedTokenizerBase, vocab: int | None = None) -> TokenPool:
    """Return the middle of a tokenizer's frequency ranking, without special and added tokens.

    The ranking is the first of these that the tokenizer has: its merges, each for the token that it makes (the first
    merge counts if several make the same); its scores, highest first; its ids. Of the N tokens that remain, the first
    and the last int(0.04·N) are left out: for OPT ranks 2,000 to 47,999 of 50,000.

    Args:
        tokenizer: A tokenizer of transformers.
        vocab: The number of rows of the model's embedding, if that may be smaller than the tokenizer; ids from there
            on are dropped first.

    Returns:
        The pool, in ranking order, and its source.

    Raises:
        InputError: No token is left.
    """
    ranking, source = _ranking(tokenizer)
    excluded = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}
    ranking = [token for token in ranking if token not in excluded and (vocab is None or token < vocab)]
    if not ranking:
        raise InputError(
            f"expected a tokenizer with ordinary tokens{'' if vocab is None else f' below {vocab}'}, "
            f"got a {type(tokenizer).__name__} with none: pass the tokenizer that belongs to the model"
        )
    edge = int(EDGE * len(ranking))
    return TokenPool(torch.tensor(ranking[edge : len(ranking) - edge]), source)


def _ranking(tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], Source]:
    """Rank distinct ids by what the tokenizer knows about their frequency."""
    model = _backend_model(tokenizer)
    if model.get("merges"):
        return _distinct(_merged_ids(model)), "merges"
    if model.get("type") == "Unigram":
        scores = [score for _, score in model["vocab"]]
        return sorted(range(len(scores)), key=lambda token: -scores[token]), "scores"
    return sorted(_distinct(tokenizer.get_vocab().values())), "ids"


def _backend_model(tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """Return the "model" entry of the tokenizer's tokenizer.json; empty for a tokenizer that has none."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    return {} if backend is None else cast(dict[str, Any], json.loads(backend.to_str())["model"])


def _merged_ids(model: dict[str, Any]) -> Iterable[int]:
    """Yield the id of the token that each merge makes; merges are written "a b" or ["a", "b"]."""
    prefix = model.get("continuing_subword_prefix") or ""
    for merge in model["merges"]:
        left, right = merge.split(" ") if isinstance(merge, str) else merge
        yield model["vocab"][left + right.removeprefix(prefix)]


def _distinct(ids: Iterable[int]) -> list[int]:
    return list(dict.fromkeys(ids))
